// SPDX-License-Identifier: Apache-2.0
// `segment`: trains FCN, PSPNet, DeepLabV3 or DeepLabV3+ under a precision policy, or under two for comparison. The
// training loop is in train.hpp.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <system_error>

#include "../support/output.hpp"
#include "options.hpp"
#include "report.hpp"

namespace segment {
namespace {

RunResult run(Settings const& settings, DataSet const& data) {
  for (BuiltRun const& built : built_runs()) {
    if (settings.model == built.model && settings.policy == built.policy && settings.device == built.device)
      return built.train_and_evaluate({settings, data});
  }
  throw mixprec::Error("the run is not part of this program.");  // parse_options has looked
}

void run_all(Options const& options) {
  Settings const& settings = options.settings;
  std::error_code problem;
  std::filesystem::create_directories(settings.output, problem);
  if (problem) {
    throw mixprec::Error("output folder '" + settings.output + "': cannot be made (" + problem.message() +
                         "). Name another with --output.");
  }
  support::check_writable(settings.output + "/result.json");
  DataSet const data = load(options.data);
  std::printf("%s on %s, %lld training and %lld validation images, crop %s, batch %d, epochs %d, seed %llu\n",
              settings.model.c_str(), settings.device.c_str(), static_cast<long long>(data.train.size()),
              static_cast<long long>(data.val.size()), to_text(settings.crop).c_str(), settings.batch_size,
              settings.epochs, static_cast<unsigned long long>(settings.seed));
  std::fflush(stdout);
  std::vector<FinishedRun> runs;
  if (options.compare) {
    Settings fp32 = settings;
    fp32.policy = "fp32";
    fp32.scale = "none";
    runs.push_back({fp32, run(fp32, data)});
  }
  runs.push_back({settings, run(settings, data)});

  std::string const table = to_table(runs, data);
  std::printf("\n%s\n", table.c_str());
  for (FinishedRun const& finished : runs) {
    if (!finished.result.graph_note.empty())
      std::printf("%s: %s\n", finished.settings.policy.c_str(), finished.result.graph_note.c_str());
  }
  support::write_text(settings.output + "/table.txt", "table", table);
  write_pictures(runs, data);
  write_json(runs, options, data, settings.device == "cuda" ? support::gpu_name() : "cpu");
  std::printf("written to %s\n", settings.output.c_str());
}

}  // namespace
}  // namespace segment

int main(int argc, char** argv) {
  int exit_code = 0;
  auto const options = segment::parse_options(argc, argv, support::abilities(), exit_code);
  if (!options) return exit_code;
  try {
    segment::run_all(*options);
  } catch (std::exception const& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "segment: %s\n", error.what());
    return 1;
  }
  return 0;
}
