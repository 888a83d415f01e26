// SPDX-License-Identifier: Apache-2.0
// Times the depthwise 3x3 convolutions of DeepLabV3+ (batch 16, crops of 512x512) and both gradients against the time
// that their bytes need. peers/depthwise.py prints the same keys for PyTorch.
#include <mixprec/mixprec.hpp>
//
#include <mixprec/cuda.hpp>

#include <exception>
#include <iostream>

#include "program.hpp"

namespace {

namespace mp = mixprec;

// As a device-to-device copy reaches it on an H200, bytes read and written together.
constexpr double bytes_per_millisecond = 4.3e9;

struct Layer {
  std::int64_t extent, channels;
  int dilation;
};
constexpr Layer layers[] = {{64, 2048, 12}, {64, 2048, 24}, {64, 2048, 36}, {128, 560, 1}, {128, 512, 1}};

class Event {
 public:
  Event() { mp::cuda::check(cudaEventCreate(&event_), "cudaEventCreate"); }
  Event(Event const&) = delete;
  Event& operator=(Event const&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Milliseconds of one launch, the median of graphs of ten. The tensors are several times as large as the second-level
// cache, so that nothing is found there.
template <class Launch>
double milliseconds(mp::cuda::Stream& stream, std::int64_t steps, Launch const& launch) {
  constexpr int repeats = 10;
  launch();
  stream.wait();
  auto const graph = mp::cuda::Graph::capture(stream, [&] {
    for (int i = 0; i < repeats; ++i) launch();
  });
  graph.launch(stream);
  Event begin, end;
  std::vector<double> samples;
  for (std::int64_t i = 0; i < steps; ++i) {
    mp::cuda::check(cudaEventRecord(begin, stream.handle()), "cudaEventRecord");
    graph.launch(stream);
    mp::cuda::check(cudaEventRecord(end, stream.handle()), "cudaEventRecord");
    stream.wait();
    float time = 0;
    mp::cuda::check(cudaEventElapsedTime(&time, begin, end), "cudaEventElapsedTime");
    samples.push_back(static_cast<double>(time) / repeats);
  }
  return bench::median(samples);
}

template <class T>
void run(std::int64_t batch, std::int64_t steps) {
  mp::cuda::Stream stream;
  for (Layer const& layer : layers) {
    int const groups = static_cast<int>(layer.channels);
    mp::ConvGeometry const g{
        batch, layer.extent,   layer.extent,   layer.channels, layer.channels, 3, 3, layer.extent, layer.extent,
        1,     layer.dilation, layer.dilation, groups};
    std::int64_t const bytes = (g.inputs() + g.outputs() + g.weights()) * std::int64_t{sizeof(T)};
    mp::cuda::DeviceBuffer buffers[4];
    T* pointers[4];
    for (int i = 0; i < 4; ++i) {
      buffers[i] = mp::cuda::DeviceBuffer(static_cast<std::size_t>(i < 3 ? g.inputs() : 2 * g.weights()) * sizeof(T));
      // Bytes 0x3c are about 1 in float16 and 0.01 in the others: power and clocks as with ordinary data.
      mp::cuda::check(cudaMemsetAsync(buffers[i].data(), 0x3c, buffers[i].bytes(), stream.handle()), "cudaMemsetAsync");
      pointers[i] = static_cast<T*>(buffers[i].data());
    }
    T *const x = pointers[0], *const y = pointers[1], *const dx = pointers[2], *const w = pointers[3];
    T const *const from_x = x, *const from_y = y, *const from_w = w, *const no_bias = nullptr;
    double const forward = milliseconds(stream, steps, [&] { conv2d_forward(stream, g, from_x, from_w, no_bias, y); });
    double const dgrad = milliseconds(stream, steps, [&] { conv2d_backward_input(stream, g, from_y, from_w, dx); });
    double const wgrad =
        milliseconds(stream, steps, [&] { conv2d_backward_weight(stream, g, from_x, from_y, w + g.weights()); });
    double const total = static_cast<double>(bytes);
    bench::JsonLine line;
    line.add("program", "mixprec").add("device", stream.device_name()).add("dtype", mp::name_of(mp::dtype_of_v<T>));
    line.add("batch", batch).add("extent", layer.extent).add("channels", layer.channels);
    line.add("dilation", std::int64_t{layer.dilation})
        .add("forward_ms", forward, 4)
        .add("backward_ms", dgrad + wgrad, 4);
    line.add("dgrad_ms", dgrad, 4).add("wgrad_ms", wgrad, 4).add("bytes", bytes);
    line.add("floor_ms", total / bytes_per_millisecond, 4).add("forward_gb_s", total / forward / 1e6, 0);
    line.add("dgrad_gb_s", total / dgrad / 1e6, 0).add("wgrad_gb_s", total / wgrad / 1e6, 0);
    std::cout << line.text() << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    bench::Arguments arguments(argc, argv);
    std::int64_t const batch = arguments.number("batch", 16, 1), steps = arguments.number("steps", 11, 1);
    std::string const dtype = arguments.text("dtype", "float16");
    arguments.refuse_others();
    if (dtype == "float16") {
      run<mp::float16>(batch, steps);
    } else if (dtype == "bfloat16") {
      run<mp::bfloat16>(batch, steps);
    } else if (dtype == "float32") {
      run<float>(batch, steps);
    } else {
      throw std::runtime_error("--dtype is " + dtype + ". Use float16, bfloat16 or float32.");
    }
  } catch (std::exception const& error) {
    std::cerr << "bench_depthwise: " << error.what() << '\n';
    return 1;
  }
}
