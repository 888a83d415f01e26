// SPDX-License-Identifier: Apache-2.0
// The --serve protocol of bench/peers/README.md.
#pragma once

#include <cstdint>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "program.hpp"

namespace bench {

/// "run N", "report" and "quit" on standard input, as the peer's --serve.
template <class Trainer>
void serve(Trainer& trainer) {
  std::cout << "ready" << std::endl;
  bool has_run = false;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb, rest;
    std::int64_t steps = 0;
    if (!(words >> verb)) continue;
    if (verb == "quit") break;
    if (verb == "report" && has_run) {
      std::cout << trainer.report() << std::endl;
    } else if (verb == "run" && words >> steps && steps > 0 && !(words >> rest)) {
      std::printf("%.4f\n", median(trainer.run(steps)));
      std::fflush(stdout);
      has_run = true;
    } else {
      std::cout << "error: say \"run N\" with N above 0, \"report\" after a run, or \"quit\"" << std::endl;
    }
  }
}

}  // namespace bench
