// SPDX-License-Identifier: Apache-2.0
// The CPU backend in one include: memory and every kernel; oneDNN where the build found it.
#pragma once

#include <mixprec/backend/cpu/cpu.hpp>
#include <mixprec/backend/cpu/environment.hpp>
#include <mixprec/backend/cpu/kernels.hpp>
#include <mixprec/backend/cpu/optimizer.hpp>
