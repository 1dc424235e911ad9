"""Publishes and finds an event without any proto file: what it needs to know it asks the gateway (gRPC reflection).

    python reflection_client.py 127.0.0.1:8080 '{"order_id": ...}'
"""

import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

address, order = sys.argv[1:]
channel = grpc.insecure_channel(address)


def v1(channel):
    """The same messages under the newer name, which this package does not know yet."""
    return channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )


asked = reflection_pb2.ServerReflectionRequest(list_services="")
names = [
    {service.name for service in next(ask(iter([asked]))).list_services_response.service}
    for ask in (reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo, v1(channel))
]
print("services:", ", ".join(sorted(names[0] | names[1])))

pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
service = pool.FindServiceByName("weir.v1.Events")


def call(method, **fields):
    method = service.methods_by_name[method]
    stub = channel.unary_unary(
        f"/{service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    return stub(message_factory.GetMessageClass(method.input_type)(**fields), timeout=20)


def event(data):
    return {"id": "p-1", "source": "/python", "spec_version": "1.0", "type": "orders.created", "text_data": data}


receipt = call("Publish", events=[event(order)], route="orders").results[0].receipt
print(receipt.outcome, receipt.topic, receipt.key)

position = {"partition": receipt.partition, "offset": receipt.offset}
found = call("GetEvent", route="orders", position=position).event
assert found.binary_data.decode() == order
print("found", found.id, found.attributes["datacontenttype"].ce_string)

try:
    call("Publish", events=[event(order.replace("12.5,", '"much",'))], route="orders")
except grpc.RpcError as error:
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    reason = "schema-violation" if b"schema-violation" in details else details
    print(error.code().name, reason)
