// SPDX-License-Identifier: Apache-2.0
// Checkpoints as a program uses them: stopped in the middle of an epoch, killed at any moment, and on a disk that
// refuses.
#include <csignal>

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

#include <mixprec/data/loader.hpp>
#include <mixprec/ops/layout.hpp>
#include <mixprec/train/checkpoint.hpp>

#include "io/temporary_directory.hpp"
#include "ops/harness.hpp"
#include "skip.hpp"

extern char** environ;

namespace mixprec::test {
namespace {

struct Digits {
  nn::Linear<12, 300> first;
  nn::Linear<300, 5> second;
  MIXPREC_MODULE(first, second)
  constexpr auto operator()(auto const& x) const { return second(relu(first(flatten(x)))); }
};
struct DigitsLoss {
  auto operator()(auto& net, auto const& image, auto const& label) const { return cross_entropy(net(image), label); }
};
using DigitsModel = Model<Digits, Fp32, Cpu>;

struct Program {
  DigitsModel net;
  Optimizer<DigitsModel, SgdOptions> opt;
  Step<DigitsModel, Optimizer<DigitsModel, SgdOptions>, Scaler<NoScaler>, DigitsLoss> training;

  explicit Program(std::uint64_t seed)
      : net(seed), opt(net, {.momentum = 0.9}), training(net, opt, {}, Poly{.lr = 0.1, .total_steps = 40}, {}) {}

  double take(HostBatch const& batch) {
    training(HostTensor{batch.images.data(), Shape{batch.count, 3, 2, 2}},
             HostTensor{batch.labels.data(), Shape{batch.count}});
    return training.loss();
  }
};

ImageDataset random_images(int count) {
  std::mt19937 generator(9);
  ImageDataset data{5, 3, 2, 2, {}, {}, {}};
  for (int at = 0; at < count; ++at) {
    for (std::size_t byte = 0; byte < data.image_bytes(); ++byte)
      data.images.push_back(static_cast<std::uint8_t>(generator()));
    data.labels.push_back(static_cast<std::uint8_t>(at % 5));
  }
  return data;
}

TEST_CASE("a program that stops behind any batch goes on with the next one, bit for bit") {
  TemporaryDirectory const directory;
  std::string const path = directory / "run";
  ImageDataset const data = random_images(47);
  LoaderOptions const options{.batch_size = 8, .seed = 3, .horizontal_flip = true};
  constexpr std::int64_t epochs = 2;
  std::vector<double> expected, losses;
  Program whole(1);
  Loader all(data, options);
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch)
    for (HostBatch const& batch : all.epoch(epoch)) expected.push_back(whole.take(batch));
  REQUIRE(expected.size() == 12);

  // Five batches, then the program ends; the second time in the second epoch, the third time behind its last batch.
  CheckpointPosition position;
  for (int start = 0; start < 3; ++start) {
    Program program(20 + static_cast<std::uint64_t>(start));
    Loader loader(data, options);
    if (start == 0) {
      program.training.load_state(Program(1).training.state());
    } else {
      position = load_checkpoint(program.training, path).position;
    }
    int left = 5;
    while (position.epoch < epochs && left > 0) {
      for (HostBatch const& batch : loader.epoch(position.epoch, position.batch)) {
        losses.push_back(program.take(batch));
        ++position.batch;
        if (--left == 0) break;
      }
      if (position.batch == loader.batches_per_epoch() && left > 0) position = {position.epoch + 1, 0};
    }
    save_checkpoint(program.training, path, position);
    if (start == 2) CHECK(program.training.state() == whole.training.state());
  }
  CHECK(losses == expected);
  CHECK(position.epoch == epochs);
}

constexpr char const* path_variable = "MIXPREC_TEST_CHECKPOINT";

/// Every value of the model is the checkpoint's batch number, so that a mixture of two saves shows.
void set_all(DigitsModel& net, std::int64_t number) {
  for (std::string const& name : net.names())
    net.assign(name, Values(net.values(name).size(), static_cast<double>(number)));
}

TEST_CASE("child of the kill test: saves checkpoints until it is killed" * doctest::skip()) {
  char const* const path = std::getenv(path_variable);
  if (path == nullptr && skipped("the kill test starts it")) return;
  Program program(1);
  CheckpointPosition position;
  if (std::filesystem::exists(path)) position = load_checkpoint(program.training, path).position;
  auto const end = std::chrono::steady_clock::now() + std::chrono::seconds(120);  // where its parent was killed
  while (std::chrono::steady_clock::now() < end) {
    set_all(program.net, ++position.batch);
    save_checkpoint(program.training, path, position);
  }
}

TEST_CASE("a program killed while it saves leaves the last checkpoint whole, and never more than one file beside it") {
  TemporaryDirectory const directory;
  std::string const path = directory / "run";
  ::setenv(path_variable, path.c_str(), 1);
  std::mt19937 generator(std::random_device{}());
  std::int64_t last = 0;
  int interrupted = 0;
  for (int round = 0; round < 20; ++round) {
    char program[] = "/proc/self/exe", no_skip[] = "--no-skip", only[] = "--test-case=child of the kill test*";
    char* const arguments[] = {program, no_skip, only, nullptr};
    pid_t child = 0;
    posix_spawn_file_actions_t quiet;
    ::posix_spawn_file_actions_init(&quiet);
    ::posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    REQUIRE(::posix_spawn(&child, program, &quiet, nullptr, arguments, environ) == 0);
    ::posix_spawn_file_actions_destroy(&quiet);
    auto const last_write = [&] {
      std::error_code none;
      return std::filesystem::last_write_time(path, none);
    };
    auto const pause = [&](unsigned most) {
      std::this_thread::sleep_for(std::chrono::microseconds(generator() % (1000 * most)));
    };
    // Sometimes before its first save, else when it has gone on.
    if (round % 5 == 0) {
      pause(100);
    } else {
      auto const before = last_write();
      auto const deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (last_write() == before && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      CHECK(last_write() != before);
      pause(40);
    }
    int status = 0;
    REQUIRE(::kill(child, SIGKILL) == 0);
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGKILL);

    bool const exists = std::filesystem::exists(path);
    CHECK(directory.count() <= 2);
    interrupted += directory.count() > (exists ? 1 : 0) ? 1 : 0;
    CHECK((exists || last == 0));
    if (!exists) continue;
    Program reader(2);
    std::int64_t const batch = load_checkpoint(reader.training, path).position.batch;
    CHECK(batch >= last);
    if (round % 5 != 0) CHECK(batch > last);
    last = batch;
    for (std::string const& name : reader.net.names()) {
      Values const values = reader.net.values(name);
      CHECK(values == Values(values.size(), static_cast<double>(batch)));
    }
  }
  ::unsetenv(path_variable);
  MESSAGE("killed while writing: " << interrupted << " of 20 times; saved " << last << " times");
  Program program(3);
  save_checkpoint(program.training, path, {});
  CHECK(directory.count() == 1);
}

/// While it lives, files of this process cannot grow beyond `bytes`, as on a full disk.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileLimit(FileLimit const&) = delete;
  FileLimit& operator=(FileLimit const&) = delete;
  ~FileLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST_CASE("a disk that is full or a folder that takes no file gives an Error with the path, and the old file stays") {
  TemporaryDirectory const directory;
  std::string const path = directory / "run";
  Program program(1);
  save_checkpoint(program.training, path, {.epoch = 1, .batch = 2});
  std::string const old = whole_file(path);
  auto const problem = [&](std::string const& to) {
    return message_of<Error>([&] { save_checkpoint(program.training, to, {.epoch = 1, .batch = 3}); });
  };
  auto const names = [](std::string const& message, std::string const& part) {
    return message.find(part) != message.npos;
  };
  for (rlim_t const bytes : {rlim_t{4}, rlim_t{100}, rlim_t{10000}}) {
    std::optional<FileLimit> limit(bytes);
    std::string const message = problem(path);
    limit.reset();
    CHECK_MESSAGE(names(message, "file '" + path + "': cannot be written ("), message);
    CHECK(directory.count() == 1);
  }
  CHECK(names(problem(directory / "absent/run"), "file '" + (directory / "absent/run") + "': cannot be created ("));
  CHECK(names(problem(path + "/run"), "file '" + path + "/run': cannot be created ("));
  // Root writes into every folder, so that it becomes somebody else for the call.
  uid_t const user = ::geteuid();
  if (user == 0 && ::seteuid(65534) != 0) {
    skipped("the part about permissions: this root cannot become another user");
  } else {
    using std::filesystem::perms;
    if (user != 0) std::filesystem::permissions(directory / ".", perms::owner_read | perms::owner_exec);
    std::string const message = problem(path);
    REQUIRE(::seteuid(user) == 0);
    std::filesystem::permissions(directory / ".", perms::owner_all);
    CHECK_MESSAGE(names(message, "file '" + path + "': cannot be created (Permission denied)"), message);
  }
  CHECK(whole_file(path) == old);
  CHECK(load_checkpoint(program.training, path).position.batch == 2);
}

}  // namespace
}  // namespace mixprec::test
