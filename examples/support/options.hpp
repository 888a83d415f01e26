// SPDX-License-Identifier: Apache-2.0
// The quickstart's command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gpu.hpp"

namespace quickstart {

enum class Backend { cpu, cuda };
enum class Mixed { bf16, fp16 };
enum class Which { fp32, mixed, both };

/// Every setting of a run. Two runs with equal settings see the same batches in the same order.
struct Options {
  std::string data;  // directory of IDX files; empty: the drawn set
  int epochs = 4;
  int batch = 64;
  std::uint64_t seed = 0;
  double learning_rate = 0.1;
  int train_images = 0;  // 0: all
  int test_images = 0;   // 0: all
  bool quick = false;
  Backend backend = Backend::cpu;
  Mixed mixed = Mixed::bf16;
  bool dynamic_scale = false;  // of fp16; otherwise 512
  Which policies = Which::both;
  std::string picture = "quickstart.png";
  std::string json;  // empty: none
};

/// Reads the command line. Empty where the program has to end with `exit_code`: 0 after --help, 2 after one sentence
/// on standard error.
std::optional<Options> parse_options(int argc, char const* const* argv, support::Abilities abilities, int& exit_code);

}  // namespace quickstart
