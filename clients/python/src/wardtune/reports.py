"""Reported outputs: what an adapter said that it should not have."""

from collections.abc import Iterator

from wardtune.transport import Transport
from wardtune.v1 import output_report_service_pb2 as pb
from wardtune.v1 import output_report_service_pb2_grpc as rpc


class Reports:
    """The tenant's reports of harmful outputs. Errors: see wardtune.errors."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = rpc.OutputReportServiceStub(transport.channel)

    def create(
        self,
        source: str,
        *,
        category: str,
        prompt: str,
        output: str,
        comment: str = "",
        request_id: str = "",
    ) -> pb.OutputReport:
        """Reports one output of `source`, the name of an adapter or of the job that made it.

        `category` is the kind of harm, a lower-case word. ResourceExhaustedError when too many
        reports wait for the provider.
        """
        request = pb.ReportOutputRequest(
            category=category,
            prompt=prompt,
            output=output,
            comment=comment,
            request_id=request_id,
        )
        if "/fineTuningJobs/" in source:
            request.job = source
        else:
            request.adapter = source
        return self._transport.mutate(self._stub.ReportOutput, request).report

    def get(self, name: str) -> pb.OutputReport:
        """One report, with what the provider made of it."""
        request = pb.GetOutputReportRequest(name=name)
        return self._transport.read(self._stub.GetOutputReport, request).report

    def list(self, *, page_size: int = 0) -> Iterator[pb.OutputReport]:
        """Newest first; fetches pages as they are needed."""
        request = pb.ListOutputReportsRequest(page_size=page_size)
        return self._transport.pages(self._stub.ListOutputReports, request, "reports")
