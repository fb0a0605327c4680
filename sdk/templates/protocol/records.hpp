#pragma once

#include <string>

#include "streambus/plugin/broker.hpp"
#include "streambus/plugin/host.hpp"

namespace streambus::protocol_acme {

/// Makes a batch of one record and hands it to produce(). The batch is gone when this returns: the broker has read it.
[[nodiscard]] ProduceOutcome produce_text(Host& host, Broker& broker, std::string_view topic, std::string_view text,
                                          ProduceWaiter& waiter);

struct FoundRecord {
  bool found = false;
  Offset offset;  ///< of the record; where none was found, the next one's
  std::string value;
};

/// Finds the first record at or behind `from`. Errors: not_found, out_of_range, unsupported (a compressed batch), io_error.
[[nodiscard]] Status find_record(Broker& broker, std::string_view topic, Offset from, FoundRecord* record);

}  // namespace streambus::protocol_acme
