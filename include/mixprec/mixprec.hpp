// SPDX-License-Identifier: Apache-2.0
// The library without a backend: policies, the model DSL, plans, training steps. Add <mixprec/cpu.hpp> or
// <mixprec/cuda.hpp> for memory and kernels, <mixprec/data/...> and <mixprec/io/...> for files.
#pragma once

#include <mixprec/nn/branches.hpp>
#include <mixprec/nn/containers.hpp>
#include <mixprec/nn/recompute.hpp>
#include <mixprec/ops/loss.hpp>
#include <mixprec/ops/reduce.hpp>
#include <mixprec/ops/resize_argmax.hpp>
#include <mixprec/ops/resize_cross_entropy.hpp>
#include <mixprec/plan/plan.hpp>
#include <mixprec/train/eager.hpp>
#include <mixprec/train/model.hpp>
#include <mixprec/train/optimizer.hpp>
#include <mixprec/train/step.hpp>
