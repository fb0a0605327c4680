#include "record_format.hpp"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>

namespace streambus::command {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFields = "kvoptTh";

Result<char> hex_byte(std::string_view digits) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc{} || digits.size() != 2 || end != digits.data() + 2) {
    return fail(ErrorCode::invalid_argument, fmt::format("format: '\\x{}': expected two hexadecimal digits", digits));
  }
  return static_cast<char>(value);
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : (lead >> 5) == 6 ? 2 : (lead >> 4) == 14 ? 3 : (lead >> 3) == 30 ? 4 : 0;
    if (length == 0 || i + length > text.size()) return false;
    std::uint32_t code = length == 1 ? lead : lead & (0x7fU >> length);
    for (std::size_t j = 1; j < length; ++j) {
      const auto next = static_cast<unsigned char>(text[i + j]);
      if ((next & 0xc0) != 0x80) return false;
      code = (code << 6) | (next & 0x3f);
    }
    constexpr std::uint32_t kShortest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kShortest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return false;
    i += length;
  }
  return true;
}

std::string base64(Bytes bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = (group << 8) | (i + j < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + j]) : 0);
    const std::size_t given = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t j = 0; j < 4; ++j) out += j <= given ? kDigits[(group >> (18 - 6 * j)) & 63] : '=';
  }
  return out;
}

void put(Json& json, const std::string& name, bool present, Bytes bytes) {
  if (!present) {
    json[name] = nullptr;
  } else if (is_utf8(as_text(bytes))) {
    json[name] = std::string(as_text(bytes));
  } else {
    json[name + "_base64"] = base64(bytes);
  }
}

void append_headers(std::string& out, const client::ConsumedRecord& record) {
  bool first = true;
  for (client::HeaderReader reader(record); reader.next(); first = false) {
    if (!first) out += ',';
    out.append(reader.key());
    out += '=';
    if (reader.value()) out.append(as_text(*reader.value()));
  }
}

/// A number of exactly `digits` digits at the front of `text`, which is cut off.
bool take_number(std::string_view& text, std::size_t digits, int& value) {
  if (text.size() < digits) return false;
  const std::string_view number = text.substr(0, digits);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc{} || end != number.data() + number.size()) return false;
  text.remove_prefix(digits);
  return true;
}

bool take(std::string_view& text, char wanted) {
  if (text.empty() || text.front() != wanted) return false;
  text.remove_prefix(1);
  return true;
}

/// Hours, minutes, perhaps seconds and a fraction, after the 'T'.
bool take_clock(std::string_view& text, std::int64_t& milliseconds) {
  int hour = 0;
  int minute = 0;
  int second = 0;
  if (!take_number(text, 2, hour) || !take(text, ':') || !take_number(text, 2, minute)) return false;
  if (take(text, ':') && !take_number(text, 2, second)) return false;
  if (hour > 24 || minute > 59 || second > 60) return false;
  milliseconds = ((hour * 60LL + minute) * 60 + second) * 1000;
  if (!take(text, '.')) return true;
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  for (std::int64_t i = 0, unit = 100; i < static_cast<std::int64_t>(digits); ++i, unit /= 10) {
    milliseconds += (text[static_cast<std::size_t>(i)] - '0') * unit;
  }
  text.remove_prefix(digits);
  return digits > 0;
}

bool take_zone(std::string_view& text, std::int64_t& milliseconds) {
  if (text.empty() || take(text, 'Z')) return true;
  const int sign = text.front() == '-' ? -1 : 1;
  if (!take(text, '+') && !take(text, '-')) return false;
  int hours = 0;
  int minutes = 0;
  if (!take_number(text, 2, hours)) return false;
  (void)take(text, ':');
  if (!text.empty() && !take_number(text, 2, minutes)) return false;
  milliseconds -= sign * (hours * 60LL + minutes) * 60'000;
  return true;
}

}  // namespace

Result<RecordFormat> RecordFormat::parse(std::string_view text) {
  RecordFormat format;
  std::string literal;
  const auto end_literal = [&] {
    if (!literal.empty()) format.pieces_.push_back({0, std::exchange(literal, {})});
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    if (text[i] == '%') {
      ++i;
      if (next == '%') {
        literal += '%';
      } else if (next != '\0' && kFields.find(next) != std::string_view::npos) {
        end_literal();
        format.pieces_.push_back({next, {}});
      } else {
        return fail(ErrorCode::invalid_argument, fmt::format("format: there is no '%{}'; there are %k key, %v value, %o "
                                                             "offset, %p partition, %t topic, %T time, %h headers, %%",
                                                             next == '\0' ? std::string() : std::string(1, next)));
      }
    } else if (text[i] == '\\') {
      ++i;
      if (next == 'x') {
        STREAMBUS_TRY_ASSIGN(const char byte, hex_byte(text.substr(std::min(i + 1, text.size()), 2)));
        literal += byte;
        i += 2;
        continue;
      }
      constexpr std::string_view kNames = "ntr0\\";
      constexpr std::string_view kBytes("\n\t\r\0\\", 5);
      const std::size_t which = next == '\0' ? std::string_view::npos : kNames.find(next);
      if (which == std::string_view::npos) {
        return fail(ErrorCode::invalid_argument, R"(format: after a backslash: n, t, r, 0, xNN or another backslash)");
      }
      literal += kBytes[which];
    } else {
      literal += text[i];
    }
  }
  end_literal();
  return format;
}

void RecordFormat::append(std::string& out, std::string_view topic, PartitionId partition,
                          const client::ConsumedRecord& record) const {
  for (const Piece& piece : pieces_) {
    switch (piece.field) {
      case 'k':
        out.append(as_text(record.key));
        break;
      case 'v':
        out.append(as_text(record.value));
        break;
      case 'o':
        fmt::format_to(std::back_inserter(out), "{}", record.offset.value);
        break;
      case 'p':
        fmt::format_to(std::back_inserter(out), "{}", partition);
        break;
      case 't':
        out.append(topic);
        break;
      case 'T':
        fmt::format_to(std::back_inserter(out), "{}", record.timestamp_ms);
        break;
      case 'h':
        append_headers(out, record);
        break;
      default:
        out.append(piece.text);
    }
  }
}

void append_json(std::string& out, std::string_view topic, PartitionId partition, const client::ConsumedRecord& record) {
  Json json = {{"topic", std::string(topic)},
               {"partition", partition},
               {"offset", record.offset.value},
               {"timestamp", record.timestamp_ms}};
  put(json, "key", record.has_key, record.key);
  put(json, "value", record.has_value, record.value);
  if (record.header_count > 0) {
    Json headers = Json::array();
    for (client::HeaderReader reader(record); reader.next();) {
      Json header;
      put(header, "key", true, as_bytes(reader.key()));
      put(header, "value", reader.value().has_value(), reader.value().value_or(Bytes{}));
      headers.push_back(std::move(header));
    }
    json["headers"] = std::move(headers);
  }
  out += json.dump();
  out += '\n';
}

Result<TimestampMs> parse_time(std::string_view text) {
  const auto wrong = [&] {
    return fail(ErrorCode::invalid_argument,
                fmt::format("'{}' is not a time; expected ISO 8601, for example 2026-05-01T10:00:00Z or 2026-05-01", text));
  };
  std::string_view rest = text;
  int year = 0;
  int month = 0;
  int day = 0;
  if (!take_number(rest, 4, year) || !take(rest, '-') || !take_number(rest, 2, month) || !take(rest, '-') ||
      !take_number(rest, 2, day))
    return wrong();
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return wrong();
  std::int64_t of_day = 0;
  if (take(rest, 'T') || take(rest, ' ')) {
    if (!take_clock(rest, of_day) || !take_zone(rest, of_day)) return wrong();
  }
  if (!rest.empty()) return wrong();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::sys_days(date).time_since_epoch()).count() + of_day;
}

}  // namespace streambus::command
