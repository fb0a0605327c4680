#include "secrets.hpp"

#include <cstdlib>

#include "file.hpp"

namespace streambus::config {

Result<OptionValues::Value> resolve_secret(std::string_view reference) {
  constexpr std::size_t kSecretBytesMax = 64 << 10;
  if (reference.empty()) return std::string();
  if (reference.starts_with("env:")) {
    const std::string name(reference.substr(4));
    const char* const value = name.empty() ? nullptr : std::getenv(name.c_str());
    if (value == nullptr) {
      return fail(ErrorCode::invalid_argument, "expected the environment variable '" + name +
                                                   "' to hold the secret, found it not set; set it before the start");
    }
    return std::string(value);
  }
  if (reference.starts_with("file:")) {
    auto text = read_small_file(std::string(reference.substr(5)), kSecretBytesMax);
    if (!text) return std::unexpected(std::move(text).error());
    if (text->ends_with('\n')) text->pop_back();
    if (text->ends_with('\r')) text->pop_back();
    return std::move(*text);
  }
  // Not shown: it may be the secret.
  return fail(
      ErrorCode::invalid_argument,
      "expected a reference to a secret, \"env:NAME\" or \"file:PATH\", found another string; secrets are not written here");
}

}  // namespace streambus::config
