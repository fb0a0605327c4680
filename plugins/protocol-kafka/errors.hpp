#pragma once

#include <cstdint>

#include "streambus/base/error.hpp"
#include "streambus/wire/messages.hpp"

namespace streambus::protocol_kafka {

/// The code that clients see for an error of the broker. The only place where the two meet.
[[nodiscard]] wire::WireError wire_error(ErrorCode code) noexcept;

/// As it goes into a response.
[[nodiscard]] constexpr std::int16_t code_of(wire::WireError error) noexcept { return static_cast<std::int16_t>(error); }
[[nodiscard]] inline std::int16_t code_of(ErrorCode code) noexcept { return code_of(wire_error(code)); }

}  // namespace streambus::protocol_kafka
