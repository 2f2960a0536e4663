"""A real gRPC server in this process whose services follow a script.

It stands in for the network's and the server's misbehaviour; what the real server does with good
calls is tested against the real server in tests/.
"""

from collections import defaultdict
from concurrent import futures
from contextlib import contextmanager
from hashlib import sha256

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from wardtune.v1 import adapter_service_pb2 as adapters_pb
from wardtune.v1 import adapter_service_pb2_grpc as adapters_rpc
from wardtune.v1 import admin_service_pb2 as admin_pb
from wardtune.v1 import admin_service_pb2_grpc as admin_rpc
from wardtune.v1 import dataset_service_pb2 as datasets_pb
from wardtune.v1 import dataset_service_pb2_grpc as datasets_rpc
from wardtune.v1 import fine_tuning_service_pb2 as jobs_pb
from wardtune.v1 import fine_tuning_service_pb2_grpc as jobs_rpc
from wardtune.v1 import output_report_service_pb2 as reports_pb
from wardtune.v1 import output_report_service_pb2_grpc as reports_rpc
from wardtune.v1 import security_vector_service_pb2 as vectors_pb
from wardtune.v1 import security_vector_service_pb2_grpc as vectors_rpc

KEY = "wt_test_key"
DATASET = "tenants/acme/datasets/d1"
JOB = "tenants/acme/fineTuningJobs/j1"
ADAPTER = "tenants/acme/adapters/a1"
REPORT = "tenants/acme/outputReports/r1"


class Script:
    """What goes wrong next, per method, and what was received."""

    def __init__(self):
        self.failures = defaultdict(list)
        self.requests = defaultdict(list)
        self.metadata = {}
        self.deadlines = {}
        self.uploaded = bytearray()
        self.dataset = datasets_pb.Dataset(name=DATASET, state=datasets_pb.Dataset.STATE_UPLOADING)
        self.report = datasets_pb.ValidationReport(rows=2, valid_rows=2, supervised_turns=2)
        self.break_upload_after = []
        self.lose_bytes_to = None  # what the server has left when the next upload begins
        self.jobs = []
        self.estimate = jobs_pb.JobEstimate()
        self.events = []
        self.break_watch_after = []
        self.archive = b""
        self.break_download_after = []
        self.corrupt = False
        self.audits = []
        self.reports = []
        self.rows = []
        self.break_export_after = []
        self.cancelled_version_state = vectors_pb.SecurityVectorVersion.STATE_UNSPECIFIED

    def page_of_audits(self, request):
        """Pages of one audit."""
        first = int(request.page_token or 0)
        token = str(first + 1) if first + 1 < len(self.audits) else ""
        return self.audits[first : first + 1], token

    def begin(self, method, request, context):
        """Notes the call, and ends it if the script says so."""
        self.requests[method].append(request)
        self.metadata[method] = dict(context.invocation_metadata())
        self.deadlines[method] = context.time_remaining()
        if self.failures[method]:
            failure = self.failures[method].pop(0)
            if failure is None:  # this call is fine
                return
            if callable(failure):
                failure = failure()
            if isinstance(failure, status_pb2.Status):
                context.abort_with_status(rpc_status.to_status(failure))
            context.abort(failure, f"scripted {failure.name}")


def refusal(*violations):
    """INVALID_ARGUMENT with a reason and (field, description) pairs."""
    status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="2 fields are wrong")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="BAD_FIELDS", domain="wardtune"))
    bad_request = error_details_pb2.BadRequest()
    for field, description in violations:
        bad_request.field_violations.add(field=field, description=description)
    status.details.add().Pack(bad_request)
    return status


def failed_precondition(reason):
    status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message=f"scripted {reason}")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="wardtune"))
    return status


OFFSET_MISMATCH = failed_precondition("OFFSET_MISMATCH")


class Datasets(datasets_rpc.DatasetServiceServicer):
    def __init__(self, script):
        self.script = script

    def CreateDataset(self, request, context):  # noqa: N802
        self.script.begin("CreateDataset", request, context)
        return datasets_pb.CreateDatasetResponse(dataset=self.script.dataset)

    def GetDataset(self, request, context):  # noqa: N802
        self.script.begin("GetDataset", request, context)
        return datasets_pb.GetDatasetResponse(dataset=self.script.dataset)

    def ListDatasets(self, request, context):  # noqa: N802
        self.script.begin("ListDatasets", request, context)
        first = int(request.page_token or 0)
        size = request.page_size or 50
        names = [f"tenants/acme/datasets/{i}" for i in range(5)]
        page = [datasets_pb.Dataset(name=name) for name in names[first : first + size]]
        more = first + size < len(names)
        token = str(first + size) if more else ""
        return datasets_pb.ListDatasetsResponse(datasets=page, next_page_token=token)

    def UploadDataset(self, requests, context):  # noqa: N802
        script = self.script
        header = next(requests).header
        script.begin("UploadDataset", header, context)
        if script.lose_bytes_to is not None:
            del script.uploaded[script.lose_bytes_to :]
            script.dataset.received_bytes = len(script.uploaded)
            script.lose_bytes_to = None
        if not header.validate_only and header.offset != script.dataset.received_bytes:
            context.abort_with_status(rpc_status.to_status(OFFSET_MISMATCH))
        limit = script.break_upload_after.pop(0) if script.break_upload_after else None
        for received, request in enumerate(requests, 1):
            if not header.validate_only:
                script.uploaded += request.chunk
                script.dataset.received_bytes = len(script.uploaded)
            if received == limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "scripted break")
        if header.validate_only:
            return datasets_pb.UploadDatasetResponse(report=script.report)
        if len(script.uploaded) < header.size_bytes:
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut short")
        digest = sha256(script.uploaded).hexdigest()
        if header.sha256 != digest:
            context.abort(grpc.StatusCode.DATA_LOSS, "SHA-256 differs")
        script.dataset.state = datasets_pb.Dataset.STATE_READY
        return datasets_pb.UploadDatasetResponse(dataset=script.dataset, report=script.report)

    def GetValidationReport(self, request, context):  # noqa: N802
        self.script.begin("GetValidationReport", request, context)
        return datasets_pb.GetValidationReportResponse(report=self.script.report)


class Jobs(jobs_rpc.FineTuningServiceServicer):
    def __init__(self, script):
        self.script = script

    def CreateFineTuningJob(self, request, context):  # noqa: N802
        self.script.begin("CreateFineTuningJob", request, context)
        job = jobs_pb.FineTuningJob(
            name=JOB,
            state=jobs_pb.FineTuningJob.STATE_QUEUED,
            estimate=self.script.estimate,
            start_adapter=request.start_adapter,
            chain_length=2 if request.start_adapter else 1,
        )
        return jobs_pb.CreateFineTuningJobResponse(job=job)

    def GetFineTuningJob(self, request, context):  # noqa: N802
        self.script.begin("GetFineTuningJob", request, context)
        jobs = self.script.jobs
        return jobs_pb.GetFineTuningJobResponse(job=jobs.pop(0) if len(jobs) > 1 else jobs[0])

    def WatchFineTuningJob(self, request, context):  # noqa: N802
        self.script.begin("WatchFineTuningJob", request, context)
        breaks = self.script.break_watch_after
        limit = breaks.pop(0) if breaks else None
        missed = [e for e in self.script.events if e.sequence > request.after_sequence]
        for sent, event in enumerate(missed, 1):
            yield jobs_pb.WatchFineTuningJobResponse(event=event)
            if sent == limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "scripted break")


class Adapters(adapters_rpc.AdapterServiceServicer):
    def __init__(self, script):
        self.script = script

    def GetAdapter(self, request, context):  # noqa: N802
        self.script.begin("GetAdapter", request, context)
        archive = self.script.archive
        adapter = adapters_pb.Adapter(
            name=ADAPTER, size_bytes=len(archive), sha256=sha256(archive).hexdigest()
        )
        return adapters_pb.GetAdapterResponse(adapter=adapter)

    def DownloadAdapter(self, request, context):  # noqa: N802
        self.script.begin("DownloadAdapter", request, context)
        breaks = self.script.break_download_after
        limit = breaks.pop(0) if breaks else None
        rest = self.script.archive[request.offset :]
        for sent, start in enumerate(range(0, len(rest), 1000), 1):
            chunk = rest[start : start + 1000]
            if self.script.corrupt:
                chunk = bytes(len(chunk))
            yield adapters_pb.DownloadAdapterResponse(chunk=chunk)
            if sent == limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "scripted break")

    def ListAdapterAudits(self, request, context):  # noqa: N802
        self.script.begin("ListAdapterAudits", request, context)
        page, token = self.script.page_of_audits(request)
        return adapters_pb.ListAdapterAuditsResponse(audits=page, next_page_token=token)


class Reports(reports_rpc.OutputReportServiceServicer):
    def __init__(self, script):
        self.script = script

    def ReportOutput(self, request, context):  # noqa: N802
        self.script.begin("ReportOutput", request, context)
        return reports_pb.ReportOutputResponse(report=reports_pb.OutputReport(name=REPORT))

    def GetOutputReport(self, request, context):  # noqa: N802
        self.script.begin("GetOutputReport", request, context)
        return reports_pb.GetOutputReportResponse(report=self.script.reports[0])

    def ListOutputReports(self, request, context):  # noqa: N802
        self.script.begin("ListOutputReports", request, context)
        return reports_pb.ListOutputReportsResponse(reports=self.script.reports)


class Vectors(vectors_rpc.SecurityVectorServiceServicer):
    def __init__(self, script):
        self.script = script

    def TrainSecurityVector(self, request, context):  # noqa: N802
        self.script.begin("TrainSecurityVector", request, context)
        name = f"securityVectors/{request.security_vector_id}/versions/1"
        version = vectors_pb.SecurityVectorVersion(name=name, recipe=request.recipe)
        return vectors_pb.TrainSecurityVectorResponse(version=version)

    def GetSecurityVectorVersion(self, request, context):  # noqa: N802
        self.script.begin("GetSecurityVectorVersion", request, context)
        state = vectors_pb.SecurityVectorVersion.STATE_EVALUATED
        version = vectors_pb.SecurityVectorVersion(name=request.name, state=state)
        return vectors_pb.GetSecurityVectorVersionResponse(version=version)

    def CancelSecurityVectorTraining(self, request, context):  # noqa: N802
        self.script.begin("CancelSecurityVectorTraining", request, context)
        state = self.script.cancelled_version_state
        version = vectors_pb.SecurityVectorVersion(name=request.name, state=state)
        return vectors_pb.CancelSecurityVectorTrainingResponse(version=version)


class Admin(admin_rpc.AdminServiceServicer):
    def __init__(self, script):
        self.script = script

    def UpdateTenant(self, request, context):  # noqa: N802
        self.script.begin("UpdateTenant", request, context)
        return admin_pb.UpdateTenantResponse(tenant=request.tenant)

    def ListTenants(self, request, context):  # noqa: N802
        self.script.begin("ListTenants", request, context)
        tenant = admin_pb.Tenant(name="tenants/acme", max_active_jobs=7)
        return admin_pb.ListTenantsResponse(tenants=[tenant])

    def CreateApiKey(self, request, context):  # noqa: N802
        self.script.begin("CreateApiKey", request, context)
        key = admin_pb.ApiKey(name=f"{request.tenant}/apiKeys/k1", role=request.role)
        return admin_pb.CreateApiKeyResponse(api_key=key, secret="wt_secret")

    def SetSafetyPolicy(self, request, context):  # noqa: N802
        self.script.begin("SetSafetyPolicy", request, context)
        request.policy.version = 1
        return admin_pb.SetSafetyPolicyResponse(policy=request.policy)

    def ReleaseAdapter(self, request, context):  # noqa: N802
        self.script.begin("ReleaseAdapter", request, context)
        return admin_pb.ReleaseAdapterResponse(adapter=adapters_pb.Adapter(name=request.name))

    def AuditAdapter(self, request, context):  # noqa: N802
        self.script.begin("AuditAdapter", request, context)
        audit = adapters_pb.AdapterAudit(name=f"{request.name}/audits/1", adapter=request.name)
        return admin_pb.AuditAdapterResponse(audit=audit)

    def ListAllAdapterAudits(self, request, context):  # noqa: N802
        self.script.begin("ListAllAdapterAudits", request, context)
        page, token = self.script.page_of_audits(request)
        return admin_pb.ListAllAdapterAuditsResponse(audits=page, next_page_token=token)

    def ListAllOutputReports(self, request, context):  # noqa: N802
        self.script.begin("ListAllOutputReports", request, context)
        # Pages of one report.
        first = int(request.page_token or 0)
        token = str(first + 1) if first + 1 < len(self.script.reports) else ""
        page = self.script.reports[first : first + 1]
        return admin_pb.ListAllOutputReportsResponse(reports=page, next_page_token=token)

    def ResolveOutputReport(self, request, context):  # noqa: N802
        self.script.begin("ResolveOutputReport", request, context)
        report = reports_pb.OutputReport(name=request.name, state=request.state)
        return admin_pb.ResolveOutputReportResponse(report=report)

    def ExportOutputReports(self, request, context):  # noqa: N802
        self.script.begin("ExportOutputReports", request, context)
        breaks = self.script.break_export_after
        limit = breaks.pop(0) if breaks else None
        first = int(request.after or 0)
        for sent, row in enumerate(self.script.rows[first:], 1):
            yield admin_pb.ExportOutputReportsResponse(row=row, cursor=str(first + sent))
            if sent == limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "scripted break")

    def ListAuditEvents(self, request, context):  # noqa: N802
        self.script.begin("ListAuditEvents", request, context)
        event = admin_pb.AuditEvent(
            key_id="k1", action="release_adapter", resource=ADAPTER, reason="reviewed"
        )
        # Two pages of one event.
        token = "" if request.page_token else "next"
        return admin_pb.ListAuditEventsResponse(events=[event], next_page_token=token)


@contextmanager
def serve(script):
    """Yields the address of a server that follows the script."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    datasets_rpc.add_DatasetServiceServicer_to_server(Datasets(script), server)
    jobs_rpc.add_FineTuningServiceServicer_to_server(Jobs(script), server)
    adapters_rpc.add_AdapterServiceServicer_to_server(Adapters(script), server)
    reports_rpc.add_OutputReportServiceServicer_to_server(Reports(script), server)
    vectors_rpc.add_SecurityVectorServiceServicer_to_server(Vectors(script), server)
    admin_rpc.add_AdminServiceServicer_to_server(Admin(script), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
