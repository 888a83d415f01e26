// SPDX-License-Identifier: Apache-2.0
// The quickstart's training on each backend: quickstart.cpp, compiled once by g++ and once by nvcc.
#pragma once

#include "options.hpp"
#include "report.hpp"

namespace quickstart {

/// Loads the data, prints the plan, trains as the options ask. Errors: what goes wrong, as an exception.
Report run_on_cpu(Options const& options);
Report run_on_cuda(Options const& options);

}  // namespace quickstart
