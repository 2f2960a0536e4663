#include "server/handlers/requests.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>

#include <memory>

#include "base/sha256.h"

namespace wardtune {

RequestKey MakeRequestKey(const Caller& caller, const char* method, const std::string& request_id,
                          const google::protobuf::Message& request) {
  const std::unique_ptr<google::protobuf::Message> body(request.New());
  body->CopyFrom(request);
  const auto* field = body->GetDescriptor()->FindFieldByName("request_id");
  body->GetReflection()->ClearField(body.get(), field);

  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    body->SerializeToCodedStream(&coded);
  }
  return {caller.tenant_id, method, request_id, Sha256Hex(bytes)};
}

}  // namespace wardtune
