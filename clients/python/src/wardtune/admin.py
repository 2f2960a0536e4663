"""Tenants, keys, the safety gate, audits, reported outputs, the audit trail. For the provider."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.field_mask_pb2 import FieldMask

from wardtune.errors import UnavailableError
from wardtune.transport import Patience, Transport
from wardtune.v1 import adapter_service_pb2 as adapters_pb
from wardtune.v1 import admin_service_pb2 as pb
from wardtune.v1 import admin_service_pb2_grpc as rpc
from wardtune.v1 import output_report_service_pb2 as reports_pb
from wardtune.v1 import safety_pb2 as safety_pb


@dataclass(frozen=True)
class NewApiKey:
    """A key and its secret, which cannot be had again. The secret is kept out of repr()."""

    record: pb.ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"NewApiKey({self.record.name!r})"


class Admin:
    """Tenants, keys, the safety gate, audits of adapters, reported outputs, the audit trail.

    Errors: see wardtune.errors.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = rpc.AdminServiceStub(transport.channel)

    def create_tenant(
        self,
        tenant_id: str,
        *,
        display_name: str = "",
        max_active_jobs: int = 0,
        max_dataset_bytes: int = 0,
    ) -> pb.Tenant:
        """Limits of 0 mean the server's defaults."""
        request = pb.CreateTenantRequest(
            tenant_id=tenant_id,
            display_name=display_name,
            max_active_jobs=max_active_jobs,
            max_dataset_bytes=max_dataset_bytes,
        )
        return self._transport.mutate(self._stub.CreateTenant, request).tenant

    def update_tenant(
        self,
        tenant: str,
        *,
        display_name: str | None = None,
        max_active_jobs: int | None = None,
        max_dataset_bytes: int | None = None,
    ) -> pb.Tenant:
        """Changes what is given, from now on; limits of 0 mean the server's defaults."""
        given = {
            "display_name": display_name,
            "max_active_jobs": max_active_jobs,
            "max_dataset_bytes": max_dataset_bytes,
        }
        changed = {field: value for field, value in given.items() if value is not None}
        request = pb.UpdateTenantRequest(
            tenant=pb.Tenant(name=tenant, **changed),
            update_mask=FieldMask(paths=list(changed)),
        )
        return self._transport.mutate(self._stub.UpdateTenant, request).tenant

    def list_tenants(self, *, page_size: int = 0) -> Iterator[pb.Tenant]:
        """By id; fetches pages as they are needed."""
        request = pb.ListTenantsRequest(page_size=page_size)
        return self._transport.pages(self._stub.ListTenants, request, "tenants")

    def create_key(
        self, tenant: str, *, role: pb.Role = pb.ROLE_TENANT, display_name: str = ""
    ) -> NewApiKey:
        """Makes a key. Not retried: a second try would make a second key."""
        request = pb.CreateApiKeyRequest(tenant=tenant, role=role, display_name=display_name)
        response = self._transport.mutate(self._stub.CreateApiKey, request)
        return NewApiKey(response.api_key, response.secret)

    def list_keys(self, tenant: str, *, page_size: int = 0) -> Iterator[pb.ApiKey]:
        """Newest first; fetches pages as they are needed."""
        request = pb.ListApiKeysRequest(tenant=tenant, page_size=page_size)
        return self._transport.pages(self._stub.ListApiKeys, request, "api_keys")

    def revoke_key(self, name: str) -> pb.ApiKey:
        request = pb.RevokeApiKeyRequest(name=name)
        return self._transport.mutate(self._stub.RevokeApiKey, request).api_key

    def get_safety_policy(self, version: int = 0) -> safety_pb.SafetyPolicy:
        """What results are judged by; version 0 asks for the one in force."""
        request = pb.GetSafetyPolicyRequest(version=version)
        return self._transport.read(self._stub.GetSafetyPolicy, request).policy

    def set_safety_policy(
        self, policy: safety_pb.SafetyPolicy, *, reason: str
    ) -> safety_pb.SafetyPolicy:
        """Replaces the whole policy for jobs that end from now on."""
        request = pb.SetSafetyPolicyRequest(policy=policy, reason=reason)
        return self._transport.mutate(self._stub.SetSafetyPolicy, request).policy

    def release_adapter(self, name: str, *, reason: str) -> adapters_pb.Adapter:
        """Gives a quarantined adapter to its customer."""
        request = pb.ReleaseAdapterRequest(name=name, reason=reason)
        return self._transport.mutate(self._stub.ReleaseAdapter, request).adapter

    def audit_adapter(self, name: str, *, reason: str) -> adapters_pb.AdapterAudit:
        """Queues an audit of a delivered adapter now, whatever the server's interval."""
        request = pb.AuditAdapterRequest(name=name, reason=reason)
        return self._transport.mutate(self._stub.AuditAdapter, request).audit

    def list_adapter_audits(
        self, *, drifted: bool = False, page_size: int = 0
    ) -> Iterator[adapters_pb.AdapterAudit]:
        """Of all tenants, newest first; fetches pages as they are needed.

        `drifted`: only the last score of each adapter, where that found drift.
        """
        request = pb.ListAllAdapterAuditsRequest(drifted=drifted, page_size=page_size)
        return self._transport.pages(self._stub.ListAllAdapterAudits, request, "audits")

    def list_output_reports(
        self,
        state: reports_pb.OutputReport.State = reports_pb.OutputReport.STATE_UNSPECIFIED,
        *,
        page_size: int = 0,
    ) -> Iterator[reports_pb.OutputReport]:
        """Of all tenants, oldest first; fetches pages as they are needed."""
        request = pb.ListAllOutputReportsRequest(state=state, page_size=page_size)
        return self._transport.pages(self._stub.ListAllOutputReports, request, "reports")

    def resolve_output_report(
        self, name: str, state: reports_pb.OutputReport.State, *, note: str, category: str = ""
    ) -> reports_pb.OutputReport:
        """Confirms or dismisses a report, once. `category` corrects the tenant's."""
        request = pb.ResolveOutputReportRequest(
            name=name, state=state, note=note, category=category
        )
        return self._transport.mutate(self._stub.ResolveOutputReport, request).report

    def export_output_reports(
        self, *, reason: str, after: str = ""
    ) -> Iterator[pb.ExportOutputReportsResponse]:
        """Rows of the confirmed reports. `after`, a row's `cursor`, leaves out those up to it.

        A stream that breaks is taken up behind the last row; each stream is an audit event.
        """
        patience = Patience(self._transport)
        while True:
            request = pb.ExportOutputReportsRequest(after=after, reason=reason)
            try:
                for row in self._transport.receive_stream(self._stub.ExportOutputReports, request):
                    patience.progressed()
                    after = row.cursor
                    yield row
                return
            except UnavailableError as error:
                patience.wait(error)

    def list_audit_events(self, *, page_size: int = 0) -> Iterator[pb.AuditEvent]:
        """Newest first; fetches pages as they are needed."""
        request = pb.ListAuditEventsRequest(page_size=page_size)
        return self._transport.pages(self._stub.ListAuditEvents, request, "events")
