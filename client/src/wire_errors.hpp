#pragma once

#include <optional>
#include <string_view>

#include "streambus/base/error.hpp"
#include "streambus/wire/messages.hpp"

namespace streambus::client {

/// What a broker's error code means here: the only place that maps them. `what` is what was asked ("topic 'a'"), `text` the
/// broker's own words where it sent some: they then stand alone.
[[nodiscard]] Error wire_error(std::int16_t code, std::string_view what, std::optional<std::string_view> text = {});

}  // namespace streambus::client
