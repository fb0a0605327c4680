#include "meta_file.hpp"

#include <cstring>
#include <memory>

#include "streambus/base/assert.hpp"
#include "streambus/base/crc32c.hpp"

namespace streambus::broker {
namespace {

constexpr std::size_t kMagicBytes = 8;
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kChecksumBytes = 4;
constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 30;

struct FileCloser {
  void operator()(File* file) const noexcept { file->close(); }
};
using OpenFile = std::unique_ptr<File, FileCloser>;

Result<OpenFile> open_file(FileSystem& files, const std::string& path, OpenMode mode) {
  File* file = nullptr;
  STREAMBUS_TRY(to_result(files.open(path, mode, &file)));
  return OpenFile(file);
}

std::vector<std::byte> frame(const MetaFormat& format, Bytes payload) {
  STREAMBUS_ASSERT(format.magic.size() == kMagicBytes && payload.size() < kFileBytesMax);
  std::vector<std::byte> bytes(kHeaderBytes + payload.size() + kChecksumBytes);
  std::memcpy(bytes.data(), format.magic.data(), kMagicBytes);
  store_be(bytes.data() + 8, format.version);
  store_be(bytes.data() + 12, static_cast<std::uint32_t>(payload.size()));
  if (!payload.empty()) std::memcpy(bytes.data() + kHeaderBytes, payload.data(), payload.size());
  const std::size_t checked = bytes.size() - kChecksumBytes;
  store_be(bytes.data() + checked, crc32c({bytes.data(), checked}));
  return bytes;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string(".") : path.substr(0, slash);
}

std::unexpected<Error> damaged(const std::string& path, const MetaFormat& format, const std::string& found) {
  return fail(ErrorCode::corrupt, "the " + std::string(format.what) + " '" + path + "' is damaged: " + found);
}

}  // namespace

void MetaWriter::text(std::string_view text) {
  STREAMBUS_ASSERT(text.size() <= UINT16_MAX);
  write(static_cast<std::uint16_t>(text.size()));
  const Bytes view = as_bytes(text);
  bytes_.insert(bytes_.end(), view.begin(), view.end());
}

std::string_view read_text(ByteReader& reader) noexcept { return as_text(reader.bytes(reader.read<std::uint16_t>())); }

Result<> write_meta_file(FileSystem& files, const std::string& path, const MetaFormat& format, Bytes payload, MetaWrite how) {
  const std::vector<std::byte> bytes = frame(format, payload);
  const bool durable = how == MetaWrite::durable;
  const std::string target = durable ? path + ".new" : path;
  {
    STREAMBUS_TRY_ASSIGN(const OpenFile file, open_file(files, target, OpenMode::create));
    const Slice slice = Slice::memory(bytes);
    STREAMBUS_TRY(to_result(file->write_at(0, &slice, 1)));
    STREAMBUS_TRY(to_result(file->truncate(bytes.size())));
    if (durable) STREAMBUS_TRY(to_result(file->sync()));
  }
  if (!durable) return {};
  STREAMBUS_TRY(to_result(files.rename(target, path)));
  return to_result(files.sync_directory(parent_of(path)));
}

Result<std::optional<MetaFile>> read_meta_file(FileSystem& files, const std::string& path, const MetaFormat& format) {
  auto opened = open_file(files, path, OpenMode::read);
  if (!opened) {
    if (opened.error().code == ErrorCode::not_found) return std::optional<MetaFile>();
    return std::unexpected(std::move(opened).error());
  }
  std::uint64_t size = 0;
  STREAMBUS_TRY(to_result((*opened)->size(&size)));
  if (size < kHeaderBytes + kChecksumBytes || size > kFileBytesMax) {
    return damaged(path, format, "it has " + std::to_string(size) + " bytes");
  }
  std::vector<std::byte> bytes(size);
  std::size_t read = 0;
  STREAMBUS_TRY(to_result((*opened)->read_at(0, bytes, &read)));
  if (read != bytes.size()) return damaged(path, format, "it ended after " + std::to_string(read) + " bytes");
  if (std::memcmp(bytes.data(), format.magic.data(), kMagicBytes) != 0) return damaged(path, format, "its magic is another");

  const std::size_t checked = bytes.size() - kChecksumBytes;
  if (crc32c({bytes.data(), checked}) != load_be<std::uint32_t>(bytes.data() + checked)) {
    return damaged(path, format, "its checksum does not hold");
  }
  MetaFile file{.version = load_be<std::uint32_t>(bytes.data() + 8), .payload = {}};
  if (file.version > format.version) {
    return fail(ErrorCode::unsupported, "the " + std::string(format.what) + " '" + path + "' has format version " +
                                            std::to_string(file.version) + ", this program reads up to " +
                                            std::to_string(format.version) + ": use the newer program that wrote it");
  }
  if (file.version == 0 || load_be<std::uint32_t>(bytes.data() + 12) != checked - kHeaderBytes) {
    return damaged(path, format, "its header does not hold");
  }
  file.payload.assign(bytes.begin() + kHeaderBytes, bytes.end() - kChecksumBytes);
  return std::optional<MetaFile>(std::move(file));
}

Result<std::vector<std::string>> list_files(FileSystem& files, const std::string& directory) {
  struct Names final : DirectoryVisitor {
    std::vector<std::string> names;
    void entry(std::string_view name, bool is_directory) noexcept override {
      if (!is_directory) names.emplace_back(name);
    }
  } visitor;
  const Status status = files.list(directory, visitor);
  if (!status.ok() && status.code != ErrorCode::not_found) return std::unexpected(Error(status));
  return std::move(visitor.names);
}

}  // namespace streambus::broker
