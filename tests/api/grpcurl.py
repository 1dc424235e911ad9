"""Stands in for grpcurl: what it knows of the services it asks the gateway. grpcurl.py -plaintext [-d JSON] ADDRESS list|METHOD"""

import argparse
import json

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

parser = argparse.ArgumentParser()
parser.add_argument("-plaintext", action="store_true", required=True)
parser.add_argument("-d", default="{}")
parser.add_argument("address")
parser.add_argument("method")
asked = parser.parse_args()

channel = grpc.insecure_channel(asked.address)
database = ProtoReflectionDescriptorDatabase(channel)
if asked.method == "list":
    print("\n".join(database.get_services()))
else:
    service, name = asked.method.rsplit("/", 1)
    method = descriptor_pool.DescriptorPool(database).FindServiceByName(service).methods_by_name[name]
    call = channel.unary_unary(
        f"/{service}/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    request = json_format.ParseDict(json.loads(asked.d), message_factory.GetMessageClass(method.input_type)())
    print(json.dumps(json_format.MessageToDict(call(request, timeout=20))))
