#include "buffer_tiers.hpp"

#include <charconv>
#include <ranges>
#include <string>

#include "streambus/host/units.hpp"

namespace streambus {
namespace {

constexpr std::size_t kCountMax = 1'000'000;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

Result<BufferTier> parse_tier(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view count_text = trimmed(colon == std::string_view::npos ? "" : text.substr(colon + 1));
  const auto bytes = parse_size_bytes(trimmed(text.substr(0, colon)));
  std::size_t count = 0;
  const auto [end, error] = std::from_chars(count_text.data(), count_text.data() + count_text.size(), count);
  if (!bytes || *bytes <= 0 || error != std::errc{} || end != count_text.data() + count_text.size() || count > kCountMax) {
    return fail(ErrorCode::invalid_argument,
                "expected SIZE:COUNT separated by commas, such as \"4KiB:1024, 64KiB:256\", found \"" + std::string(text) +
                    "\" (a size above 0, a count from 0 to 1000000)");
  }
  return BufferTier{static_cast<std::size_t>(*bytes), count};
}

}  // namespace

Result<std::vector<BufferTier>> parse_buffer_tiers(std::string_view text) {
  BufferPoolSettings settings;
  settings.tiers.clear();
  for (const auto part : std::views::split(text, ',')) {
    auto tier = parse_tier(trimmed(std::string_view(part.begin(), part.end())));
    if (!tier) return std::unexpected(tier.error());
    settings.tiers.push_back(*tier);
  }
  if (auto checked = settings.check(); !checked) return std::unexpected(checked.error());
  return settings.tiers;
}

}  // namespace streambus
