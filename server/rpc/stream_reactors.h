// The two streaming shapes, written once: bytes in (uploads) and messages out (downloads, events).
//
// A handler implements ReceivingCall or SendingCall, whose methods run one after the other on the
// runner's pool and may block; the reactor keeps one read or write in flight. A call that ends
// early destroys its handler object, whose destructor releases what it holds.
// Thread safety: the reactors synchronise themselves with gRPC; nothing here is shared otherwise.
#ifndef WARDTUNE_SERVER_RPC_STREAM_REACTORS_H_
#define WARDTUNE_SERVER_RPC_STREAM_REACTORS_H_

#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/call_runner.h"
#include "storage/error_reason.h"

namespace wardtune {

// Takes the messages of a client stream.
template <typename Request, typename Response>
class ReceivingCall {
 public:
  virtual ~ReceivingCall() = default;
  // Takes the next message. An error ends the call with it.
  virtual absl::Status Consume(const Request& message) = 0;
  // True when no further message can change the answer: Complete() is called without them.
  virtual bool enough() const { return false; }
  // All messages have come, or enough of them. `still_there` tells, as late as asked, whether the
  // client is.
  virtual absl::StatusOr<Response> Complete(
      const absl::AnyInvocable<bool() const>& still_there) = 0;
  // The client left in the middle: keeps what is worth keeping.
  virtual void Abandon() {}
};

// Makes the messages of a server stream.
template <typename Response>
class SendingCall {
 public:
  enum class Step { kMessage, kWait, kAgain, kEnd };

  virtual ~SendingCall() = default;
  // Fills in the next message, or says that there is none yet, that it needs another call first to
  // go on with its work, or that there is none any more.
  virtual absl::StatusOr<Step> Next(Response& message) = 0;
  // Called after kWait: arranges that `wake` runs once when Next() is worth another call, at the
  // latest after a second or so, so that a client that left is noticed. `wake` may run at once on
  // another thread and end the call, so nothing of the object may be touched after giving it away.
  virtual void WakeLater(absl::AnyInvocable<void()> wake) { wake(); }
};

template <typename Request, typename Response>
class ReceivingReactor final : public grpc::ServerReadReactor<Request> {
 public:
  using Call = ReceivingCall<Request, Response>;
  using Factory = absl::AnyInvocable<absl::StatusOr<std::unique_ptr<Call>>(const Caller&)>;

  // Owns itself until gRPC calls OnDone.
  static grpc::ServerReadReactor<Request>* Start(CallRunner& runner,
                                                 grpc::CallbackServerContext* context,
                                                 const Method& method, Response* response,
                                                 Factory factory) {
    auto* reactor = new ReceivingReactor(runner, *context, method, response, std::move(factory));
    reactor->RunBlocking([reactor] { reactor->Open(); });
    return reactor;
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      RunBlocking([this] { Consume(); });
    } else {
      RunBlocking([this] { Complete(); });
    }
  }
  void OnDone() override { delete this; }

 private:
  ReceivingReactor(CallRunner& runner, grpc::CallbackServerContext& context, const Method& method,
                   Response* response, Factory factory)
      : runner_(runner),
        record_(runner, context, method),
        response_(response),
        factory_(std::move(factory)) {}

  void RunBlocking(absl::AnyInvocable<void()> work) {
    if (!runner_.Schedule(record_.pool(), std::move(work))) End(CallRunner::Overloaded());
  }

  void Open() {
    absl::Status status = record_.Authorize();
    if (status.ok()) {
      absl::StatusOr<std::unique_ptr<Call>> call = factory_(record_.caller());
      status = call.status();
      if (call.ok()) call_ = *std::move(call);
    }
    Continue(status);
  }
  void Consume() {
    if (const absl::Status allowed = record_.AuthorizeAgain(); !allowed.ok())
      return Refuse(allowed);
    const absl::Status status = call_->Consume(message_);
    if (status.ok() && call_->enough()) return Complete();
    Continue(status);
  }
  void Complete() {
    if (record_.cancelled()) {
      return Refuse(absl::CancelledError("the caller is gone"));
    }
    // What a key stores it must still be good for.
    if (const absl::Status allowed = record_.Authorize(); !allowed.ok()) return Refuse(allowed);
    absl::StatusOr<Response> answer = call_->Complete([this] { return !record_.cancelled(); });
    if (answer.ok()) *response_ = *std::move(answer);
    End(answer.status());
  }
  // Ends a call that may not go on; what it has received so far is kept as if it had broken off.
  void Refuse(const absl::Status& status) {
    if (call_ != nullptr) call_->Abandon();
    End(status);
  }
  void Continue(const absl::Status& status) {
    if (!status.ok()) return End(status);
    this->StartRead(&message_);
  }
  void End(const absl::Status& status) {
    call_.reset();
    const grpc::Status converted = record_.Finish(status);
    this->Finish(converted);
  }

  CallRunner& runner_;
  CallRecord record_;
  Response* const response_;
  Factory factory_;
  std::unique_ptr<Call> call_;
  Request message_;
};

template <typename Response>
class SendingReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  using Call = SendingCall<Response>;
  using Factory = absl::AnyInvocable<absl::StatusOr<std::unique_ptr<Call>>(const Caller&)>;

  // Owns itself until gRPC calls OnDone.
  static grpc::ServerWriteReactor<Response>* Start(CallRunner& runner,
                                                   grpc::CallbackServerContext* context,
                                                   const Method& method, Factory factory) {
    auto* reactor = new SendingReactor(runner, *context, method, std::move(factory));
    reactor->RunBlocking([reactor] { reactor->Open(); });
    return reactor;
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the caller is gone"));
    RunBlocking([this] { Advance(); });
  }
  void OnDone() override { delete this; }

 private:
  SendingReactor(CallRunner& runner, grpc::CallbackServerContext& context, const Method& method,
                 Factory factory)
      : runner_(runner), record_(runner, context, method), factory_(std::move(factory)) {}

  void RunBlocking(absl::AnyInvocable<void()> work) {
    if (!runner_.Schedule(record_.pool(), std::move(work))) End(CallRunner::Overloaded());
  }

  void Open() {
    if (const absl::Status status = record_.Authorize(); !status.ok()) return End(status);
    absl::StatusOr<std::unique_ptr<Call>> call = factory_(record_.caller());
    if (!call.ok()) return End(call.status());
    call_ = *std::move(call);
    Advance();
  }

  void Advance() {
    if (record_.cancelled()) return End(absl::CancelledError("the caller is gone"));
    // A stream may last for hours; a key that was revoked meanwhile ends it.
    if (const absl::Status allowed = record_.AuthorizeAgain(); !allowed.ok()) return End(allowed);
    message_.Clear();
    const absl::StatusOr<typename Call::Step> step = call_->Next(message_);
    if (!step.ok()) return End(step.status());
    switch (*step) {
      case Call::Step::kMessage:
        this->StartWrite(&message_);
        return;
      case Call::Step::kEnd:
        return End(absl::OkStatus());
      case Call::Step::kWait:
        if (runner_.draining()) {
          return End(WithReason(absl::UnavailableError("the server is shutting down"), "DRAINING"));
        }
        call_->WakeLater([this] { RunBlocking([this] { Advance(); }); });
        return;
      case Call::Step::kAgain:
        return RunBlocking([this] { Advance(); });
    }
  }

  void End(const absl::Status& status) {
    call_.reset();
    const grpc::Status converted = record_.Finish(status);
    this->Finish(converted);
  }

  CallRunner& runner_;
  CallRecord record_;
  Factory factory_;
  std::unique_ptr<Call> call_;
  Response message_;
};

}  // namespace wardtune

#endif  // WARDTUNE_SERVER_RPC_STREAM_REACTORS_H_
