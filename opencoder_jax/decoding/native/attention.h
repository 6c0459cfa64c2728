// Attention of a new token over what the cache has of its slot.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "numbers.h"

// Scores of sixteen keys, so far apart: q k^T. How many are read is fixed, for the sums have to
// stay in registers; where fewer exist, the numbers of the others are for the caller to replace.
template <typename C>
inline Floats Scores(const float* q, const C* k, int64_t stride, int64_t depth) {
  Floats sums[kLanes] = {};
  int64_t d = 0;
  for (; d + kLanes <= depth; d += kLanes) {
    const Floats part = Load(q + d);
    for (int t = 0; t < kLanes; ++t) sums[t] += part * Load(k + t * stride + d);
  }
  Floats result = Sums<kLanes>(sums);
  for (; d < depth; ++d) {
    for (int t = 0; t < kLanes; ++t) result[t] += q[d] * Widen(k[t * stride + d]);
  }
  return result;
}

// result = weights v, of `count` values, kVectors vectors of each.
template <int kVectors, typename C>
inline void Mix(const float* weights, const C* v, int64_t count, int64_t stride, float* result) {
  Floats sums[kVectors] = {};
  for (int64_t t = 0; t < count; ++t) {
    for (int i = 0; i < kVectors; ++i) sums[i] += weights[t] * Load(v + t * stride + i * kLanes);
  }
  for (int i = 0; i < kVectors; ++i) {
    *reinterpret_cast<LooseFloats*>(result + i * kLanes) = sums[i];
  }
}

// Asks for `count` vectors of keys or values.
template <typename C>
inline void PrefetchRows(const C* rows, int64_t count, int64_t stride, int64_t depth) {
  for (int64_t t = 0; t < count; ++t) {
    const char* row = reinterpret_cast<const char*>(rows + t * stride);
    for (int64_t byte = 0; byte < depth * int64_t{sizeof(C)}; byte += 64) __builtin_prefetch(row + byte);
  }
}

// Attention of one row's query heads of one key head, over its slot up to its position. A
// position's keys lie `heads` vectors before the next one's, and its scales `heads` numbers.
template <typename C>
void Attend(const float* q, const C* k, const C* v, const float* ks, const float* vs,
            int64_t count, int64_t heads, int64_t group, int64_t depth, float* result) {
  const int64_t stride = heads * depth;
  const float factor = 1.0f / std::sqrt(static_cast<float>(depth));
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  thread_local std::vector<float> scores;
  scores.resize(padded);
  for (int64_t g = 0; g < group; ++g) {
    Floats highest = Floats{} - INFINITY;
    for (int64_t t = 0; t < padded; t += kLanes) {
      if (g == 0) {
        // The processor does not foresee them, for other heads' lie between.
        PrefetchRows(v + t * stride, std::min<int64_t>(kLanes, count - t), stride, depth);
        PrefetchRows(k + (t + 2 * kLanes) * stride,
                     std::min<int64_t>(kLanes, count - t - 2 * kLanes), stride, depth);
      }
      Floats found = Scores(q + g * depth, k + t * stride, stride, depth) * factor;
      for (int64_t i = 0; ks && i < std::min<int64_t>(kLanes, count - t); ++i) found[i] *= ks[(t + i) * heads];
      for (int64_t i = std::max<int64_t>(0, count - t); i < kLanes; ++i) found[i] = -INFINITY;
      highest = found > highest ? found : highest;
      *reinterpret_cast<LooseFloats*>(&scores[t]) = found;
    }
    const float top = Largest(highest);
    Floats total = {};
    for (int64_t t = 0; t < padded; t += kLanes) {
      Floats weight = Exp(Load(&scores[t]) - top);
      // What lies behind the last score counts nothing at all.
      for (int64_t i = std::max<int64_t>(0, count - t); i < kLanes; ++i) weight[i] = 0.0f;
      total += weight;
      *reinterpret_cast<LooseFloats*>(&scores[t]) = weight;
    }
    for (int64_t t = 0; vs && t < count; ++t) scores[t] *= vs[t * heads];
    float* to = result + g * depth;
    int64_t d = 0;
    for (; d + 4 * kLanes <= depth; d += 4 * kLanes) Mix<4>(scores.data(), v + d, count, stride, to + d);
    for (; d + kLanes <= depth; d += kLanes) Mix<1>(scores.data(), v + d, count, stride, to + d);
    for (; d < depth; ++d) {
      to[d] = 0.0f;
      for (int64_t t = 0; t < count; ++t) to[d] += scores[t] * Widen(v[t * stride + d]);
    }
    const float inverse = 1.0f / Sum(total);
    for (d = 0; d < depth; ++d) to[d] *= inverse;
  }
}
