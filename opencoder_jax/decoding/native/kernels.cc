// What XLA's CPU compiler does badly for decoding, as two foreign functions of JAX.
//
//   linear     y[m, n] = sum_d x[m, d] w[n, d]     (w in float32, bfloat16 or int8)
//   layers     all layers of new tokens: their keys and values go into the cache, in place,
//              and each attends over its own past (attention.h)
//
// A step of decoding reads every weight once, so `linear` has to read memory as fast as the
// machine can: rows of weights are contiguous, 16-bit weights are widened in registers, and
// bfloat16 operands go to the processor's own dot product where it has one.
//
// Every number is computed in one order, whatever else is computed beside it: y[m, n] depends
// on row m of x alone, and a row of `layers` on its own slot alone. That is what makes a text
// the same alone and in a full batch. Rows that are not `active` are left out, and get zeros.
//
// Vectors are GCC's (64 bytes, lowered to what the processor has), so this is one source for
// AVX-512, AVX2 and NEON. Threads: team.h.

#include <cstdint>
#include <vector>

#include "attention.h"
#include "numbers.h"
#include "product.h"
#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// ---------------------------------------------------------------------------------------
// Products, with types that are known when they are called.

using ColumnsFunction = void (*)(const void* const*, int64_t, const void*, int64_t, const float*,
                                 float* const*, int64_t, int64_t);

struct Weights {
  ffi::DataType type;
  const void* values;
  const float* scales;  // Or null.
  int64_t columns, depth;
};

int64_t ItemBytes(ffi::DataType type) { return type == ffi::F32 ? 4 : type == ffi::BF16 ? 2 : 1; }

// A matrix, or matrix number `layer` of a stack.
Weights Read(const ffi::AnyBuffer& values, const ffi::AnyBuffer& scales, int64_t layer = 0) {
  const auto dims = values.dimensions();
  const int64_t columns = dims[dims.size() - 2], depth = dims.back();
  const int64_t bytes = columns * depth * ItemBytes(values.element_type());
  return {values.element_type(), static_cast<const char*>(values.untyped_data()) + layer * bytes,
          scales.element_count() ? static_cast<const float*>(scales.untyped_data()) + layer * columns
                                 : nullptr,
          columns, depth};
}

template <typename X>
ColumnsFunction Choose(ffi::DataType weights) {
  switch (weights) {
    case ffi::F32: return Columns<X, float>;
    case ffi::BF16: return Columns<X, BFloat16>;
    case ffi::S8: return Columns<X, int8_t>;
    default: return nullptr;
  }
}

ColumnsFunction Choose(bool bfloat16, ffi::DataType weights) {
  return bfloat16 ? Choose<BFloat16>(weights) : Choose<float>(weights);
}

// `work(begin, end)` for all columns, shared out in some parts more than there are members: one
// that was held up does not hold up the others. Parts begin at multiples of four.
template <typename Work>
void ShareColumns(int64_t columns, const Work& work) {
  Team& team = Team::Get();
  const int64_t quads = (columns + 3) / 4;
  const int parts = static_cast<int>(std::min<int64_t>(quads, team.members() * 8));
  team.Run(parts, [&](int part) {
    work(quads * part / parts * 4, std::min(columns, quads * (part + 1) / parts * 4));
  });
}

// Inputs of a product: rows of float32, or rounded to bfloat16.
class Inputs {
 public:
  Inputs(int64_t rows, int64_t depth, bool bfloat16)
      : depth_(depth), bfloat16_(bfloat16), floats_(bfloat16 ? 0 : rows * depth),
        halves_(bfloat16 ? rows * depth : 0), rows_(rows) {
    for (int64_t m = 0; m < rows; ++m) {
      rows_[m] = bfloat16 ? static_cast<void*>(&halves_[m * depth]) : &floats_[m * depth];
    }
  }

  void Put(int64_t row, int64_t begin, const float* x, int64_t count) {
    if (bfloat16_) {
      BFloat16* to = &halves_[row * depth_ + begin];
      for (int64_t i = 0; i < count; ++i) Narrow(x[i], to + i);
    } else {
      std::memcpy(&floats_[row * depth_ + begin], x, count * sizeof(float));
    }
  }

  const void* const* rows() const { return rows_.data(); }

 private:
  int64_t depth_;
  bool bfloat16_;
  std::vector<float> floats_;
  std::vector<BFloat16> halves_;
  std::vector<const void*> rows_;
};

// Rows of float32.
class Outputs {
 public:
  Outputs(int64_t rows, int64_t depth) : floats_(rows * depth), rows_(rows) {
    for (int64_t m = 0; m < rows; ++m) rows_[m] = &floats_[m * depth];
  }
  float* operator[](int64_t row) { return rows_[row]; }
  float* const* rows() const { return rows_.data(); }

 private:
  std::vector<float> floats_;
  std::vector<float*> rows_;
};

ffi::Error LinearImpl(ffi::AnyBuffer x, ffi::AnyBuffer values, ffi::AnyBuffer scales,
                      ffi::Buffer<ffi::PRED> active, ffi::ResultBuffer<ffi::F32> y) {
  const int64_t rows = x.dimensions()[0], depth = x.dimensions()[1];
  const Weights w = Read(values, scales);
  const bool bfloat16 = x.element_type() == ffi::BF16;
  const ColumnsFunction columns = Choose(bfloat16, w.type);
  if (w.depth != depth || !columns || (!bfloat16 && x.element_type() != ffi::F32)) {
    return ffi::Error::InvalidArgument("linear: operands of these shapes or types are not known");
  }
  std::vector<const void*> from;
  std::vector<float*> to;
  for (int64_t m = 0; m < rows; ++m) {
    float* out = y->typed_data() + m * w.columns;
    if (active.typed_data()[m]) {
      from.push_back(static_cast<const char*>(x.untyped_data()) + m * depth * (bfloat16 ? 2 : 4));
      to.push_back(out);
    } else {
      std::fill_n(out, w.columns, 0.0f);
    }
  }
  ShareColumns(w.columns, [&](int64_t begin, int64_t end) {
    columns(from.data(), from.size(), w.values, depth, w.scales, to.data(), begin, end);
  });
  return ffi::Error::Success();
}

// ---------------------------------------------------------------------------------------
// The cache: [slots, length, heads, depth], with int8 a scale a token and head.

struct Cache {
  ffi::DataType type;
  int64_t slots, length, heads, depth;
  void *keys, *values;
  float *key_scales, *value_scales;  // Or null.

  // The place of a slot's position and head.
  int64_t At(int64_t slot, int64_t position, int64_t head) const {
    return (slot * length + position) * heads + head;
  }

  template <typename C>
  void StoreAt(int64_t at, const float* key, const float* value) {
    Store(key, depth, static_cast<C*>(keys) + at * depth, key_scales ? key_scales + at : nullptr);
    Store(value, depth, static_cast<C*>(values) + at * depth,
          value_scales ? value_scales + at : nullptr);
  }

  template <typename C>
  void AttendTo(int64_t from, const float* q, int64_t count, int64_t group, float* result) const {
    Attend<C>(q, static_cast<C*>(keys) + from * depth, static_cast<C*>(values) + from * depth,
              key_scales ? key_scales + from : nullptr, value_scales ? value_scales + from : nullptr,
              count, heads, group, depth, result);
  }

  // `function` with a value of the cache's type.
  template <typename Function>
  void WithType(const Function& function) {
    switch (type) {
      case ffi::F32: return function(float{});
      case ffi::BF16: return function(BFloat16{});
      default: return function(int8_t{});
    }
  }
};

// ---------------------------------------------------------------------------------------
// Layers

struct Layer {
  const float* attention_norm;
  Weights query_key_value, attention_out;
  const float* mlp_norm;
  Weights gate_up, down;
  Cache cache;
};

// One row of new tokens: where it stands, its rotation, and its residual.
struct Row {
  int64_t slot, position;
  const float *sin, *cos;  // [depth / 2]
  float* x;
};

void NormInto(Inputs& inputs, int64_t row, const float* x, const float* scale, int64_t depth,
              float eps) {
  Floats squares = {};
  int64_t d = 0;
  for (; d + kLanes <= depth; d += kLanes) squares += Load(x + d) * Load(x + d);
  float sum = Sum(squares);
  for (; d < depth; ++d) sum += x[d] * x[d];
  const float factor = 1.0f / std::sqrt(sum / depth + eps);
  thread_local std::vector<float> normed;
  normed.resize(depth);
  for (int64_t i = 0; i < depth; ++i) normed[i] = x[i] * factor * scale[i];
  inputs.Put(row, 0, normed.data(), depth);
}

// Pairs are dimension i and i + depth / 2.
void Rotate(float* x, const Row& row, int64_t depth) {
  const int64_t half = depth / 2;
  for (int64_t i = 0; i < half; ++i) {
    const float first = x[i], second = x[i + half];
    x[i] = first * row.cos[i] - second * row.sin[i];
    x[i + half] = second * row.cos[i] + first * row.sin[i];
  }
}

class Decoder {
 public:
  // `layer`: any, for all have the same dimensions.
  Decoder(std::vector<Row> rows, const Layer& layer, float eps, bool bfloat16)
      : rows_(std::move(rows)), width_(layer.attention_out.columns),
        group_(layer.attention_out.depth / layer.cache.heads / layer.cache.depth), eps_(eps),
        bfloat16_(bfloat16), normed_(rows_.size(), width_, bfloat16),
        mixed_(rows_.size(), layer.attention_out.depth, bfloat16),
        activated_(rows_.size(), layer.down.depth, bfloat16),
        fused_(rows_.size(), layer.query_key_value.columns),
        gates_(rows_.size(), layer.gate_up.columns), product_(rows_.size(), width_) {}

  void Run(Layer& layer) {
    const int64_t count = rows_.size(), K = layer.cache.heads, h = layer.cache.depth;
    const int64_t per_head = (group_ + 2) * h, mlp = layer.down.depth;

    // Attention: for each key head its query heads, itself and its values lie side by side.
    Norm(layer.attention_norm);
    Product(layer.query_key_value, normed_, fused_, [](int64_t, int64_t) {});
    ForItems(count * K, [&](int64_t item) {
      const Row& row = rows_[item / K];
      float* head = fused_[item / K] + item % K * per_head;
      for (int64_t n = 0; n <= group_; ++n) Rotate(head + n * h, row, h);
      const int64_t at = layer.cache.At(row.slot, row.position, item % K);
      layer.cache.WithType([&](auto type) {
        layer.cache.StoreAt<decltype(type)>(at, head + group_ * h, head + (group_ + 1) * h);
      });
    });
    // Query heads of one key head go together, unless there are too few for all members.
    const int64_t together = count * K < 4 * Team::Get().members() ? 1 : group_;
    const int64_t items = K * group_ / together;
    Team::Get().Run(static_cast<int>(count * items), [&](int item) {
      const Row& row = rows_[item / items];
      const int64_t query = item % items * together, head = query / group_;
      thread_local std::vector<float> result;
      result.resize(together * h);
      layer.cache.WithType([&](auto type) {
        layer.cache.AttendTo<decltype(type)>(
            layer.cache.At(row.slot, 0, head),
            fused_[item / items] + head * per_head + query % group_ * h, row.position + 1, together,
            result.data());
      });
      mixed_.Put(item / items, query * h, result.data(), together * h);
    });
    AddProduct(layer.attention_out, mixed_);

    // MLP: all gates lie before all ups.
    Norm(layer.mlp_norm);
    const ColumnsFunction columns = Choose(bfloat16_, layer.gate_up.type);
    ShareColumns(mlp, [&](int64_t begin, int64_t end) {
      const Weights& w = layer.gate_up;
      for (const int64_t offset : {int64_t{0}, mlp}) {
        columns(normed_.rows(), count, w.values, w.depth, w.scales, gates_.rows(), begin + offset,
                end + offset);
      }
      for (int64_t m = 0; m < count; ++m) {
        for (int64_t n = begin; n < end; n += kLanes) {
          const int64_t some = std::min<int64_t>(kLanes, end - n);
          Floats gate = {}, up = {};
          std::memcpy(&gate, gates_[m] + n, some * sizeof(float));
          std::memcpy(&up, gates_[m] + mlp + n, some * sizeof(float));
          const Floats result = gate / (1.0f + Exp(-gate)) * up;
          activated_.Put(m, n, reinterpret_cast<const float*>(&result), some);
        }
      }
    });
    AddProduct(layer.down, activated_);
  }

 private:
  void Norm(const float* scale) {
    ForItems(rows_.size(), [&](int64_t m) { NormInto(normed_, m, rows_[m].x, scale, width_, eps_); });
  }

  // x += inputs * w^T
  void AddProduct(const Weights& w, const Inputs& inputs) {
    Product(w, inputs, product_, [&](int64_t begin, int64_t end) {
      for (size_t m = 0; m < rows_.size(); ++m) {
        for (int64_t n = begin; n < end; ++n) rows_[m].x[n] += product_[m][n];
      }
    });
  }

  template <typename After>
  void Product(const Weights& w, const Inputs& inputs, Outputs& outputs, const After& after) {
    const ColumnsFunction columns = Choose(bfloat16_, w.type);
    const int64_t count = rows_.size();
    ShareColumns(w.columns, [&](int64_t begin, int64_t end) {
      columns(inputs.rows(), count, w.values, w.depth, w.scales, outputs.rows(), begin, end);
      after(begin, end);
    });
  }

  // Short work, which is shared out only where there is much of it.
  template <typename Work>
  void ForItems(int64_t count, const Work& work) {
    const int parts = static_cast<int>(std::min<int64_t>(count / 16 + 1, Team::Get().members()));
    Team::Get().Run(parts, [&](int part) {
      for (int64_t i = count * part / parts; i < count * (part + 1) / parts; ++i) work(i);
    });
  }

  std::vector<Row> rows_;
  int64_t width_, group_;
  float eps_;
  bool bfloat16_;
  Inputs normed_, mixed_, activated_;
  Outputs fused_, gates_, product_;
};

// The layers lie stacked, in the order of `LayerWeights`, then `LayerCache`.
constexpr int64_t kWeights = 10, kCaches = 4;

ffi::Error LayersImpl(ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::S32> slots,
                      ffi::Buffer<ffi::S32> positions, ffi::Buffer<ffi::PRED> active,
                      ffi::Buffer<ffi::F32> sin, ffi::Buffer<ffi::F32> cos,
                      ffi::RemainingArgs arguments, ffi::ResultBuffer<ffi::F32> out,
                      ffi::RemainingRets results, float eps, bool bfloat16) {
  const int64_t count = x.dimensions()[0], width = x.dimensions()[1], half = sin.dimensions()[1];
  if (arguments.size() != kWeights + kCaches || results.size() != kCaches) {
    return ffi::Error::InvalidArgument("layers: expected ten stacks of weights and four of caches");
  }
  const auto argument = [&](int64_t i) { return arguments.get<ffi::AnyBuffer>(i).value(); };
  const auto floats = [&](int64_t i) { return static_cast<float*>(argument(i).untyped_data()); };
  for (int64_t i = 0; i < kCaches; ++i) {
    const auto before = argument(kWeights + i);
    const auto after = results.get<ffi::AnyBuffer>(i).value();
    if (before.element_count() && before.untyped_data() != after->untyped_data()) {
      return ffi::Error::Internal("layers: the cache was copied, it should have been reused");
    }
  }
  const auto keys = argument(kWeights), values = argument(kWeights + 1);
  const auto dims = keys.dimensions();  // layers, slots, length, heads, depth
  const bool scaled = argument(kWeights + 2).element_count() > 0;
  const int64_t places = dims[1] * dims[2] * dims[3];
  const int64_t bytes = places * dims[4] * ItemBytes(keys.element_type());
  std::vector<Layer> layers;
  for (int64_t l = 0; l < dims[0]; ++l) {
    const auto weights = [&](int64_t i) { return Read(argument(i), argument(i + 1), l); };
    const Cache cache{keys.element_type(), dims[1], dims[2], dims[3], dims[4],
                      static_cast<char*>(keys.untyped_data()) + l * bytes,
                      static_cast<char*>(values.untyped_data()) + l * bytes,
                      scaled ? floats(kWeights + 2) + l * places : nullptr,
                      scaled ? floats(kWeights + 3) + l * places : nullptr};
    layers.push_back({floats(0) + l * width, weights(1), weights(3), floats(5) + l * width,
                      weights(6), weights(8), cache});
  }
  if (layers.empty()) return ffi::Error::InvalidArgument("layers: there are none");
  std::memcpy(out->typed_data(), x.typed_data(), x.size_bytes());
  std::vector<Row> rows;
  for (int64_t m = 0; m < count; ++m) {
    if (!active.typed_data()[m]) continue;
    const int64_t slot = slots.typed_data()[m], position = positions.typed_data()[m];
    const Cache& cache = layers[0].cache;
    // Keys are read by sixteen.
    if (slot < 0 || slot >= cache.slots || position < 0 || position + kLanes > cache.length) {
      return ffi::Error::InvalidArgument("layers: a row lies outside of the cache");
    }
    rows.push_back({slot, position, sin.typed_data() + m * half, cos.typed_data() + m * half,
                    out->typed_data() + m * width});
  }
  if (rows.empty()) return ffi::Error::Success();
  Decoder decoder(std::move(rows), layers[0], eps, bfloat16);
  for (Layer& layer : layers) decoder.Run(layer);
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(OpencoderLinear, LinearImpl,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(OpencoderLayers, LayersImpl,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .RemainingArgs()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .RemainingRets()
                                  .Attr<float>("eps")
                                  .Attr<bool>("bfloat16"));
