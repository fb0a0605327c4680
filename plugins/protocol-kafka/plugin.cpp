#include "protocol.hpp"
#include "streambus/plugin/sdk.hpp"

STREAMBUS_PLUGIN(protocol, "protocol-kafka", "0.1.0", "Apache-2.0", "Speaks the Kafka protocol: any Kafka client is a client",
                 streambus::protocol_kafka::KafkaProtocol, streambus::protocol_kafka::kOptions)
