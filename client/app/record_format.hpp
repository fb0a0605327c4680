#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "streambus/client/record.hpp"

namespace streambus::command {

/// How a consumed record is printed: a text with %k %v %o %p %t %T %h and \n \t \\ \xNN, read once, applied to many.
class RecordFormat {
 public:
  /// Errors: invalid_argument, naming the escape that does not exist and those that do.
  [[nodiscard]] static Result<RecordFormat> parse(std::string_view text);

  void append(std::string& out, std::string_view topic, PartitionId partition, const client::ConsumedRecord& record) const;

 private:
  struct Piece {
    char field;  ///< 0: the text
    std::string text;
  };
  std::vector<Piece> pieces_;
};

/// Appends the record as one line of JSON. What is not UTF-8 is written in base64, under a name with "_base64" at its end.
void append_json(std::string& out, std::string_view topic, PartitionId partition, const client::ConsumedRecord& record);

/// Milliseconds since 1970 of "2026-05-01", "2026-05-01T10:00:00", with fractions, "Z" or "+02:00"; without a zone it is UTC.
[[nodiscard]] Result<TimestampMs> parse_time(std::string_view text);

}  // namespace streambus::command
