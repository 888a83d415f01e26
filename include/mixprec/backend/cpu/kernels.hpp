// SPDX-License-Identifier: Apache-2.0
// Every CPU kernel of docs/kernels.md but the optimizer's.
#pragma once

#include <mixprec/backend/cpu/adaptive_pool.hpp>
#include <mixprec/backend/cpu/argmax.hpp>
#include <mixprec/backend/cpu/batch_norm.hpp>
#include <mixprec/backend/cpu/capability.hpp>
#include <mixprec/backend/cpu/concat.hpp>
#include <mixprec/backend/cpu/conv2d.hpp>
#include <mixprec/backend/cpu/dropout.hpp>
#include <mixprec/backend/cpu/elementwise.hpp>
#include <mixprec/backend/cpu/layout.hpp>
#include <mixprec/backend/cpu/loss.hpp>
#include <mixprec/backend/cpu/matmul.hpp>
#include <mixprec/backend/cpu/pool.hpp>
#include <mixprec/backend/cpu/pyramid_pool.hpp>
#include <mixprec/backend/cpu/reduce.hpp>
#include <mixprec/backend/cpu/relu.hpp>
#include <mixprec/backend/cpu/resize.hpp>
#include <mixprec/backend/cpu/resize_cross_entropy.hpp>
#include <mixprec/backend/cpu/softmax.hpp>
