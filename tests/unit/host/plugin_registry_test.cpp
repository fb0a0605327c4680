// Every way in which a plugin file is refused, by its message; and what loading and unloading leaves.

#include "streambus/host/plugin_registry.hpp"

#include <elf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "streambus/host/services.hpp"
#include "streambus/plugin/codec.hpp"
#include "temporary_directory.hpp"

namespace streambus {
namespace {

namespace fs = std::filesystem;
using test::read_file;
using test::TemporaryDirectory;
using test::write_file;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const fs::path kTests = fs::path(STREAMBUS_TEST_BUILD_DIR) / "tests";
const fs::path kProbe = kTests / "probes" / "codec-probe.so";

fs::path hostile(const std::string& name) { return kTests / "hostile" / (name + ".so"); }

class PluginRegistryTest : public testing::Test {
 protected:
  /// A copy of a file in the test's own directory.
  fs::path copy(const fs::path& from, const std::string& name = "plugin.so") {
    const fs::path to = directory_ / name;
    fs::copy_file(from, to, fs::copy_options::overwrite_existing);
    fs::permissions(to, fs::perms(0644));
    return to;
  }

  /// A copy of the good probe whose stamp is changed before anybody reads it.
  fs::path with_stamp(const std::function<void(AbiStamp&)>& change, const fs::path& from = kProbe) {
    std::string bytes = read_file(from);
    constexpr std::string_view kName("StreamBus\0\0\0", 12);
    const std::size_t at = bytes.find(kName);
    EXPECT_NE(at, std::string::npos);
    AbiStamp stamp;
    std::memcpy(&stamp, bytes.data() + at + kName.size(), sizeof stamp);
    change(stamp);
    std::memcpy(bytes.data() + at + kName.size(), &stamp, sizeof stamp);
    return write(bytes);
  }

  fs::path write(std::string_view bytes, const std::string& name = "plugin.so") {
    const fs::path path = directory_ / name;
    write_file(path, bytes);
    fs::permissions(path, fs::perms(0644));
    return path;
  }

  /// Loads by path and returns the message of the refusal.
  std::string refusal(const fs::path& path, PluginKind kind = PluginKind::codec) {
    PluginRegistry registry({});
    const auto loaded = registry.load(kind, path.string());
    EXPECT_FALSE(loaded.has_value());
    if (loaded) return "";
    EXPECT_THAT(loaded.error().message, HasSubstr(path.string()));
    return loaded.error().message;
  }

  TemporaryDirectory directory_;
};

TEST_F(PluginRegistryTest, LoadsByAbsolutePathOnce) {
  PluginRegistry registry({});
  const auto first = registry.load(PluginKind::codec, kProbe.string());
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_EQ((*first)->name(), "codec-probe");
  EXPECT_EQ((*first)->version(), "1.2.3");
  EXPECT_EQ((*first)->path(), kProbe);
  EXPECT_EQ((*first)->options().size(), 7U);
  EXPECT_EQ(*registry.load(PluginKind::codec, kProbe.string()), *first);
  EXPECT_EQ(*registry.load(PluginKind::codec, "codec-probe"), *first) << "loaded before: found without a search path";
  EXPECT_EQ(registry.loaded().size(), 1U);
}

TEST_F(PluginRegistryTest, FindsANameByTheNoteNotTheFileName) {
  copy(kProbe, "any-file-name.so");
  PluginRegistry registry({directory_.path()});
  const auto loaded = registry.load(PluginKind::codec, "codec-probe");
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ((*loaded)->path().filename(), "any-file-name.so");
  EXPECT_FALSE(registry.load(PluginKind::codec, "any-file-name").has_value());
}

TEST_F(PluginRegistryTest, UnloadDestroysAndKeepsTheMapping) {
  Services services({});
  const fs::path path = copy(kProbe);
  {
    PluginRegistry registry({});
    const LoadedPlugin* plugin = *registry.load(PluginKind::codec, path.string());
    OptionValues options(plugin->options());
    ::unsetenv("STREAMBUS_PROBE_DESTROYED");
    auto instance = create_instance<Codec>(services, *plugin, options, {.instance_name = "p", .component = "codec.p"});
    ASSERT_TRUE(instance.has_value()) << instance.error().message;
    EXPECT_EQ((*instance)->type(), "probe");
    EXPECT_EQ(::getenv("STREAMBUS_PROBE_DESTROYED"), nullptr);
  }
  EXPECT_STREQ(::getenv("STREAMBUS_PROBE_DESTROYED"), "1");
  EXPECT_THAT(read_file("/proc/self/maps"), HasSubstr(path.string()));
}

TEST_F(PluginRegistryTest, ThrowingCreateIsAnErrorWithItsWords) {
  Services services({});
  const auto refused = [&](const std::string& name) {
    PluginRegistry registry({});
    const LoadedPlugin* plugin = *registry.load(PluginKind::codec, hostile(name).string());
    OptionValues options(plugin->options());
    const auto instance = create_instance<Codec>(services, *plugin, options, {.instance_name = "p", .component = "codec.p"});
    EXPECT_FALSE(instance.has_value());
    return instance ? "" : instance.error().message;
  };
  EXPECT_THAT(refused("throw"),
              AllOf(HasSubstr("codec-probe"), HasSubstr("[codec.p]"), HasSubstr("no licence for this machine; buy one")));
  EXPECT_THAT(refused("throw-int"), AllOf(HasSubstr("codec-probe"), HasSubstr("not a std::exception")));
}

TEST_F(PluginRegistryTest, RefusesAnotherApiMajorBeforeItsCodeRuns) {
  ::unsetenv("STREAMBUS_HOSTILE_RAN");
  const fs::path path = with_stamp([](AbiStamp& stamp) { stamp.abi_major = kAbiMajor + 1; }, hostile("marker"));
  EXPECT_THAT(refusal(path), AllOf(HasSubstr("plugin API major version: expected " + std::to_string(kAbiMajor) + ", found " +
                                             std::to_string(kAbiMajor + 1)),
                                   HasSubstr("build the plugin with this broker's headers")));
  EXPECT_EQ(::getenv("STREAMBUS_HOSTILE_RAN"), nullptr);
  PluginRegistry registry({});
  ASSERT_TRUE(registry.load(PluginKind::codec, hostile("marker").string()).has_value());
  EXPECT_STREQ(::getenv("STREAMBUS_HOSTILE_RAN"), "1") << "the marker marks nothing: the check above proves nothing";
}

TEST_F(PluginRegistryTest, RefusesANewerApiMinor) {
  EXPECT_THAT(refusal(with_stamp([](AbiStamp& stamp) { stamp.abi_minor = kAbiMinor + 1; })),
              AllOf(HasSubstr("plugin API minor version: expected at most " + std::to_string(kAbiMinor) + ", found " +
                              std::to_string(kAbiMinor + 1)),
                    HasSubstr("use a newer broker")));
}

TEST_F(PluginRegistryTest, RefusesAnotherArchitecture) {
  EXPECT_THAT(refusal(with_stamp([](AbiStamp& stamp) { std::strcpy(stamp.architecture, "mips64"); })),
              AllOf(HasSubstr("architecture: expected"), HasSubstr("found mips64"), HasSubstr("build it for this machine")));
  std::string bytes = read_file(kProbe);
  const std::uint16_t machine = EM_S390;
  std::memcpy(bytes.data() + offsetof(Elf64_Ehdr, e_machine), &machine, sizeof machine);
  EXPECT_THAT(refusal(write(bytes)), AllOf(HasSubstr("architecture: expected"), HasSubstr("found s390x")));
  bytes = read_file(kProbe);
  bytes[EI_CLASS] = ELFCLASS32;
  EXPECT_THAT(refusal(write(bytes)), HasSubstr("another word size or byte order"));
}

TEST_F(PluginRegistryTest, RefusesASanitizerBuild) {
  EXPECT_THAT(refusal(with_stamp([](AbiStamp& stamp) { stamp.sanitizers ^= AbiStamp::kMemorySanitizer; })),
              AllOf(HasSubstr("sanitizers: expected"), HasSubstr("memory"), HasSubstr("-fsanitize")));
}

TEST_F(PluginRegistryTest, RefusesADebugBuildOfTheStandardLibrary) {
  EXPECT_THAT(refusal(with_stamp([](AbiStamp& stamp) { stamp.glibcxx_debug ^= 1; })),
              AllOf(HasSubstr("_GLIBCXX_DEBUG"), HasSubstr("same setting")));
}

TEST_F(PluginRegistryTest, RefusesAnotherStandardLibrary) {
  EXPECT_THAT(refusal(with_stamp([](AbiStamp& stamp) { stamp.cxx11_abi ^= 1; })), HasSubstr("_GLIBCXX_USE_CXX11_ABI"));
  EXPECT_THAT(refusal(with_stamp([](AbiStamp& stamp) { stamp.glibcxx_release = 99; })),
              AllOf(HasSubstr("libstdc++ release: expected"), HasSubstr("found 99")));
}

TEST_F(PluginRegistryTest, ListsEveryMismatchAtOnce) {
  const std::string text = refusal(with_stamp([](AbiStamp& stamp) {
    stamp.abi_major = 77;
    stamp.glibcxx_debug ^= 1;
    stamp.sanitizers ^= AbiStamp::kMemorySanitizer;
    stamp.kind = 9;
    stamp.name[0] = '\0';
  }));
  EXPECT_THAT(text, AllOf(HasSubstr("found 77"), HasSubstr("_GLIBCXX_DEBUG"), HasSubstr("sanitizers"), HasSubstr("plugin kind"),
                          HasSubstr("plugin name")));
}

TEST_F(PluginRegistryTest, RefusesTheWrongKindForItsSection) {
  EXPECT_THAT(refusal(kProbe, PluginKind::storage),
              AllOf(HasSubstr("expected a storage plugin"), HasSubstr("found 'codec-probe', a codec plugin"),
                    HasSubstr("[codec.NAME]")));
  PluginRegistry registry({});
  ASSERT_TRUE(registry.load(PluginKind::codec, kProbe.string()).has_value());
  EXPECT_FALSE(registry.load(PluginKind::storage, kProbe.string()).has_value()) << "also when it is loaded already";
}

TEST_F(PluginRegistryTest, AMissingNameSaysWhereItLookedAndWhatThereIs) {
  copy(kProbe);
  PluginRegistry registry({directory_.path(), directory_ / "nowhere"});
  const auto loaded = registry.load(PluginKind::codec, "codec-prbe");
  ASSERT_FALSE(loaded.has_value());
  EXPECT_EQ(loaded.error().code, ErrorCode::not_found);
  EXPECT_THAT(
      loaded.error().message,
      AllOf(HasSubstr("'codec-prbe'"), HasSubstr("did you mean 'codec-probe'?"), HasSubstr(directory_.path().string() + "\n"),
            HasSubstr((directory_ / "nowhere").string()), HasSubstr("there are: codec-probe"), HasSubstr("--plugin-dir")));
}

TEST_F(PluginRegistryTest, RefusesAMissingFileAndARelativePath) {
  EXPECT_THAT(refusal(directory_ / "absent.so"),
              AllOf(HasSubstr("expected a plugin file, found none"), HasSubstr("check the path")));
  PluginRegistry registry({});
  const auto loaded = registry.load(PluginKind::codec, "plugins/codec-probe.so");
  ASSERT_FALSE(loaded.has_value());
  EXPECT_THAT(loaded.error().message, AllOf(HasSubstr("'plugins/codec-probe.so'"), HasSubstr("found a relative path"),
                                            HasSubstr("write the whole path, from '/' on")));
}

TEST_F(PluginRegistryTest, RefusesTwoCandidatesForAName) {
  copy(kProbe, "one.so");
  copy(kProbe, "two.so");
  PluginRegistry registry({directory_.path()});
  const auto loaded = registry.load(PluginKind::codec, "codec-probe");
  ASSERT_FALSE(loaded.has_value());
  EXPECT_THAT(loaded.error().message, AllOf(HasSubstr("expected one file with this name, found 2"), HasSubstr("one.so"),
                                            HasSubstr("two.so"), HasSubstr("absolute path")));
}

TEST_F(PluginRegistryTest, OneFileUnderTwoNamesIsOneCandidate) {
  copy(kProbe, "one.so");
  fs::create_symlink(directory_ / "one.so", directory_ / "two.so");
  PluginRegistry registry({directory_.path(), directory_.path() / "."});
  EXPECT_TRUE(registry.load(PluginKind::codec, "codec-probe").has_value());
}

TEST_F(PluginRegistryTest, RefusesAnUnreadableFile) {
  const fs::path path = copy(kProbe);
  fs::permissions(path, fs::perms::none);
  fs::permissions(directory_.path(), fs::perms(0755));
  const uid_t user = ::geteuid();
  if (user == 0) {  // root reads everything: be nobody for a moment
    ASSERT_EQ(::seteuid(65534), 0);
  }
  const std::string text = refusal(path);
  if (user == 0) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  EXPECT_THAT(text, AllOf(HasSubstr("can read, found: Permission denied"), HasSubstr("check the permissions")));
}

TEST_F(PluginRegistryTest, RefusesWhatEverybodyCanWrite) {
  const fs::path path = copy(kProbe);
  fs::permissions(path, fs::perms(0666));
  EXPECT_THAT(refusal(path),
              AllOf(HasSubstr("the file not to be writable by everybody, found mode 0666"), HasSubstr("chmod o-w")));
  fs::permissions(path, fs::perms(0644));
  fs::permissions(directory_.path(), fs::perms(0777));
  EXPECT_THAT(refusal(path), AllOf(HasSubstr("its folder '" + directory_.path().string() + "' not to be writable by everybody"),
                                   HasSubstr("found mode 0777")));
  fs::permissions(directory_.path(), fs::perms(01777));
  PluginRegistry registry({});
  EXPECT_TRUE(registry.load(PluginKind::codec, path.string()).has_value()) << "a sticky folder protects its files";
}

TEST_F(PluginRegistryTest, WarnsOfWhatAGroupCanWrite) {
  const fs::path path = copy(kProbe);
  fs::permissions(path, fs::perms(0664));
  PluginRegistry registry({});
  ASSERT_TRUE(registry.load(PluginKind::codec, path.string()).has_value());
  ASSERT_EQ(registry.warnings().size(), 1U);
  EXPECT_THAT(registry.warnings()[0],
              AllOf(HasSubstr(path.string()), HasSubstr("writable by its group"), HasSubstr("chmod g-w")));
}

TEST_F(PluginRegistryTest, RefusesAFileOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give a file away";
  const fs::path path = copy(kProbe);
  ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  EXPECT_THAT(refusal(path),
              AllOf(HasSubstr("belong to root or to this user"), HasSubstr("found uid 65534"), HasSubstr("chown")));
}

TEST_F(PluginRegistryTest, RefusesWhatIsNoElfFile) {
  EXPECT_THAT(refusal(write("#!/bin/sh\necho hello\n")),
              AllOf(HasSubstr("expected an ELF shared object"), HasSubstr("another kind of file")));
  EXPECT_THAT(refusal(write("")), HasSubstr("expected an ELF shared object"));
  EXPECT_THAT(refusal(directory_.path()), HasSubstr("expected a regular file"));
  EXPECT_THAT(refusal("/proc/self/exe"), testing::AnyOf(HasSubstr("without it"), HasSubstr("shared object")));
}

TEST_F(PluginRegistryTest, RefusesATruncatedFileWhereverItEnds) {
  const std::string bytes = read_file(kProbe);
  EXPECT_THAT(refusal(write(bytes.substr(0, bytes.size() - 1))),
              AllOf(HasSubstr("expected a complete ELF file"), HasSubstr("copy or build it again")));
  for (const std::size_t size : {std::size_t{4}, std::size_t{5}, std::size_t{63}, std::size_t{64}, std::size_t{200},
                                 std::size_t{4096}, bytes.size() / 2}) {
    EXPECT_THAT(refusal(write(bytes.substr(0, size))), HasSubstr("complete ELF file")) << size;
  }
}

TEST_F(PluginRegistryTest, DamageIsNeverReadOutOfBounds) {
  // Each byte of the headers and of the note in turn: whatever it says, the reader stays inside the file and ends.
  const std::string good = read_file(kProbe);
  const std::size_t note = good.find("StreamBus") - 12;
  const fs::path path = write(good);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  PluginRegistry registry({directory_.path()});
  std::size_t refused = 0;
  for (std::size_t i = 0; i < 900; ++i) {
    const auto at = static_cast<off_t>(i < 700 ? i : note + (i - 700));
    for (const char value : {'\xff', '\x7f', '\0'}) {
      ASSERT_EQ(::pwrite(fd, &value, 1, at), 1);
      const auto files = registry.scan();
      ASSERT_EQ(files.size(), 1U);
      refused += files[0].refusal.empty() ? 0 : 1;
    }
    ASSERT_EQ(::pwrite(fd, &good[static_cast<std::size_t>(at)], 1, at), 1);
  }
  EXPECT_GT(refused, 100U);
  EXPECT_EQ(registry.scan()[0].refusal, "") << "put right again";
  ::close(fd);
}

TEST_F(PluginRegistryTest, RefusesAnElfFileWithoutANote) {
  EXPECT_THAT(refusal(hostile("no-note")), AllOf(HasSubstr("expected the note '.note.streambus'"),
                                                 HasSubstr("found a shared object without it"), HasSubstr("STREAMBUS_PLUGIN")));
}

TEST_F(PluginRegistryTest, NamesTheLibraryThatIsMissing) {
  EXPECT_THAT(refusal(hostile("absent")),
              AllOf(HasSubstr("found no 'libstreambus-absent.so'"), HasSubstr("install the package"), HasSubstr("ldd")));
}

TEST_F(PluginRegistryTest, NamesTheSymbolThatIsMissing) {
  EXPECT_THAT(refusal(hostile("undefined")),
              AllOf(HasSubstr("'streambus_probe_defined_nowhere' undefined"), HasSubstr("link the library")));
  EXPECT_THAT(refusal(hostile("no-descriptor")), AllOf(HasSubstr("export 'streambus_plugin'"), HasSubstr("missing")));
}

TEST_F(PluginRegistryTest, RefusesADescriptorThatContradictsTheNote) {
  EXPECT_THAT(refusal(hostile("liar")), AllOf(HasSubstr("say the same as the note"), HasSubstr("'codec-other'")));
}

TEST_F(PluginRegistryTest, RefusesAnOptionTableThatContradictsItself) {
  EXPECT_THAT(refusal(hostile("bad-default")), AllOf(HasSubstr("option 'room'"), HasSubstr("from 4KiB to 8KiB, found 1KiB")));
  EXPECT_THAT(refusal(hostile("twice")), HasSubstr("found 'mode' twice"));
}

TEST_F(PluginRegistryTest, AnUnusableFileOfThatNameTellsItsOwnStory) {
  copy(hostile("no-note"), "codec-lost.so");
  PluginRegistry registry({directory_.path()});
  const auto loaded = registry.load(PluginKind::codec, "codec-lost");
  ASSERT_FALSE(loaded.has_value());
  EXPECT_THAT(loaded.error().message, AllOf(HasSubstr("codec-lost.so"), HasSubstr("expected the note")));
}

TEST_F(PluginRegistryTest, ScanReportsWithoutLoading) {
  copy(kProbe, "good.so");
  write("text", "bad.so");
  write("text", "not-looked-at.txt");
  PluginRegistry registry({directory_.path()});
  const auto files = registry.scan();
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(files[0].path.filename(), "bad.so");
  EXPECT_THAT(files[0].refusal, HasSubstr("ELF"));
  EXPECT_EQ(files[1].refusal, "");
  EXPECT_STREQ(files[1].stamp.name, "codec-probe");
  EXPECT_THAT(read_file("/proc/self/maps"), Not(HasSubstr((directory_ / "good.so").string())));
}

TEST_F(PluginRegistryTest, DefaultDirectoriesAreTheGivenOnesAndTheProgramsOwn) {
  const auto directories = PluginRegistry::default_directories({"/opt/a"});
  ASSERT_EQ(directories.size(), 2U);
  EXPECT_EQ(directories[0], "/opt/a");
  EXPECT_EQ(directories[1], fs::path(STREAMBUS_TEST_BUILD_DIR) / "lib" / "streambus" / "plugins");
}

}  // namespace
}  // namespace streambus
