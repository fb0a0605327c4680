#pragma once

#include <string>
#include <string_view>

#include "streambus/host/option_values.hpp"

namespace streambus::config {

/// The secret (none for "") behind "env:NAME" or "file:PATH" (a regular file of at most 64 KiB; one line break at its end is
/// not part of it). Errors: invalid_argument; the message never holds what might be the secret itself.
[[nodiscard]] Result<OptionValues::Value> resolve_secret(std::string_view reference);

}  // namespace streambus::config
