#include "streambus/host/units.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <vector>

namespace streambus {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

// Smallest first: formatting takes the last one that divides.
constexpr Unit kDurations[] = {{"ns", 1},
                               {"us", 1'000},
                               {"ms", 1'000'000},
                               {"s", 1'000'000'000},
                               {"m", 60'000'000'000},
                               {"h", 3'600'000'000'000},
                               {"d", 86'400'000'000'000}};
constexpr Unit kBinarySizes[] = {{"", 1}, {"KiB", 1LL << 10}, {"MiB", 1LL << 20}, {"GiB", 1LL << 30}, {"TiB", 1LL << 40}};
constexpr Unit kDecimalSizes[] = {{"B", 1}, {"kB", 1'000}, {"MB", 1'000'000}, {"GB", 1'000'000'000}, {"TB", 1'000'000'000'000}};

bool same_word(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

/// Splits "64KiB" into 64 and "KiB". False when there is no leading whole number.
bool split_number(std::string_view text, std::int64_t& number, std::string_view& unit, bool& overflow) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  overflow = error == std::errc::result_out_of_range;
  if (error != std::errc{}) return false;
  unit = std::string_view(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  return true;
}

Result<std::int64_t> scaled(std::string_view text, std::int64_t number, std::int64_t factor) {
  std::int64_t value = 0;
  if (__builtin_mul_overflow(number, factor, &value)) {
    return fail(ErrorCode::invalid_argument, "'" + std::string(text) + "' is larger than can be represented (64 bits)");
  }
  return value;
}

std::string format_with(std::span<const Unit> units, std::int64_t value) {
  const Unit* best = &units.front();
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.factor == 0) best = &unit;
  }
  return std::to_string(value / best->factor) + std::string(best->name);
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Optimal string alignment: a swap of neighbours counts as one mistake.
  std::vector<std::vector<std::size_t>> rows(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) rows[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      rows[i][j] = std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.size()][b.size()];
}

constexpr std::size_t kWordMax = 64;  // longer words are no misspelling of a key; bounds the work on hostile input

}  // namespace

Result<std::int64_t> parse_duration_ns(std::string_view text) {
  std::int64_t number = 0;
  std::string_view unit;
  bool overflow = false;
  const bool is_number = split_number(text, number, unit, overflow);
  if (is_number && number == 0 && unit.empty()) return 0;
  if (is_number && unit.empty()) {
    const std::string digits(text);
    return fail(ErrorCode::invalid_argument,
                "expected a duration with its unit (ns, us, ms, s, m, h, d), found the bare number " + digits + "; write \"" +
                    digits + "ms\" or \"" + digits + "s\"");
  }
  if (is_number) {
    for (const Unit& candidate : kDurations) {
      if (unit == candidate.name) return scaled(text, number, candidate.factor);
    }
  }
  return fail(
      ErrorCode::invalid_argument,
      "expected a duration such as \"250ms\", \"5s\", \"1h\" (ns, us, ms, s, m, h, d), found \"" + std::string(text) + "\"");
}

Result<std::int64_t> parse_size_bytes(std::string_view text) {
  std::int64_t number = 0;
  std::string_view unit;
  bool overflow = false;
  if (split_number(text, number, unit, overflow)) {
    if (unit.empty()) return number;
    for (const std::span<const Unit> units :
         {std::span<const Unit>(kBinarySizes).subspan(1), std::span<const Unit>(kDecimalSizes)}) {
      for (const Unit& candidate : units) {
        if (same_word(unit, candidate.name)) return scaled(text, number, candidate.factor);
      }
    }
  }
  return fail(ErrorCode::invalid_argument,
              "expected a size in bytes such as 65536, \"64KiB\", \"1GB\" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), found \"" +
                  std::string(text) + "\"");
}

std::string format_duration(std::int64_t ns) { return ns == 0 ? "0s" : format_with(kDurations, ns); }
std::string format_size(std::int64_t bytes) { return format_with(kBinarySizes, bytes); }

std::string did_you_mean(std::string_view word, std::span<const std::string_view> candidates) {
  if (word.size() > kWordMax) return "";
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string_view candidate : candidates) {
    if (candidate.size() > kWordMax) continue;
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best.empty() ? "" : "; did you mean '" + std::string(best) + "'?";
}

std::string join_words(std::span<const std::string_view> words, std::string_view last) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " " + std::string(last) + " " : ", ";
    text += words[i];
  }
  return text;
}

}  // namespace streambus
