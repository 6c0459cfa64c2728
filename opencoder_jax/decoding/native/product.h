// Products of a few rows of inputs with a matrix of weights, whose rows are contiguous.

#pragma once

#include <bit>
#include <type_traits>

#include "numbers.h"

// Asks for a weight that lies so many bytes behind one in use. The processor's own prefetcher
// starts anew with each row, which costs a quarter of the memory's speed.
template <int64_t kAhead, typename W>
inline void Prefetch(const W* w) {
  __builtin_prefetch(reinterpret_cast<const char*>(w) + kAhead, 0, 2);
}

// Dot products of kRows rows of x with kColumns rows of w, into y[row][column]. `kFirst`: the
// weights come from memory; otherwise a tile before this one has just read them.
template <int kRows, int kColumns, bool kFirst, typename X, typename W>
void Tile(const X* const* x, const W* w, int64_t depth, const float* scales, float* const* y) {
  // Of one row of weights the next are a little ahead, of four the next four are far.
  constexpr int64_t kAhead = kColumns == 1 ? 2048 : 8192;
  constexpr int kCount = std::bit_ceil(static_cast<unsigned>(kRows * kColumns));
  Floats sums[kCount] = {};
  int64_t d = 0;
#if defined(__AVX512BF16__)
  if constexpr (std::is_same_v<X, BFloat16> && std::is_same_v<W, BFloat16>) {
    for (; d + 2 * kLanes <= depth; d += 2 * kLanes) {
      __m512bh ws[kColumns];
      for (int n = 0; n < kColumns; ++n) {
        if (kFirst) Prefetch<kAhead>(w + n * depth + d);
        ws[n] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(w + n * depth + d));
      }
      for (int m = 0; m < kRows; ++m) {
        const auto xs = reinterpret_cast<__m512bh>(_mm512_loadu_si512(x[m] + d));
        for (int n = 0; n < kColumns; ++n) {
          Floats& sum = sums[m * kColumns + n];
          sum = reinterpret_cast<Floats>(
              _mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), xs, ws[n]));
        }
      }
    }
  }
#endif
  for (; d + kLanes <= depth; d += kLanes) {
    Floats ws[kColumns];
    for (int n = 0; n < kColumns; ++n) {
      if (kFirst) Prefetch<kAhead>(w + n * depth + d);
      ws[n] = Load(w + n * depth + d);
    }
    for (int m = 0; m < kRows; ++m) {
      const Floats xs = Load(x[m] + d);
      for (int n = 0; n < kColumns; ++n) sums[m * kColumns + n] += xs * ws[n];
    }
  }
  const Floats summed = Sums<kCount>(sums);
  for (int m = 0; m < kRows; ++m) {
    for (int n = 0; n < kColumns; ++n) {
      float sum = summed[m * kColumns + n];
      for (int64_t rest = d; rest < depth; ++rest) {
        sum += Widen(x[m][rest]) * Widen(w[n * depth + rest]);
      }
      y[m][n] = scales ? sum * scales[n] : sum;
    }
  }
}

// The same for any number of rows, in tiles of four and one of what is left.
template <int kColumns, typename X, typename W>
void Rows(const X* const* x, int64_t rows, const W* w, int64_t depth, const float* scales,
          float* const* y, int64_t column) {
  bool first = true;
  const auto tile = [&]<int kRows>(int64_t m) {
    float* to[kRows];
    for (int i = 0; i < kRows; ++i) to[i] = y[m + i] + column;
    if (first) {
      Tile<kRows, kColumns, true>(x + m, w, depth, scales, to);
    } else {
      Tile<kRows, kColumns, false>(x + m, w, depth, scales, to);
    }
    first = false;
  };
  int64_t m = 0;
  for (; m + 4 <= rows; m += 4) tile.template operator()<4>(m);
  switch (rows - m) {
    case 3: tile.template operator()<3>(m); break;
    case 2: tile.template operator()<2>(m); break;
    case 1: tile.template operator()<1>(m); break;
  }
}

// Columns [begin, end) of y = x w^T * scales, for all rows. Rows of x pass in blocks that stay
// in the second-level cache while the weights go by.
template <typename X, typename W>
void Columns(const void* const* x, int64_t rows, const void* w, int64_t depth, const float* scales,
             float* const* y, int64_t begin, int64_t end) {
  const auto* from = reinterpret_cast<const X* const*>(x);
  const W* weights = static_cast<const W*>(w);
  const int64_t block = std::max<int64_t>(4, 262144 / (depth * sizeof(X)) / 4 * 4);
  for (int64_t first = 0; first < rows; first += block) {
    const int64_t count = std::min(block, rows - first);
    int64_t n = begin;
    // Few rows of x wait for memory, which is read fastest in one stream; many rows, or many
    // numbers a byte, wait for sums, of which a tile of four columns has more at a time.
    for (; (count > 3 || sizeof(W) == 1) && n + 4 <= end; n += 4) {
      Rows<4>(from + first, count, weights + n * depth, depth, scales ? scales + n : nullptr,
              y + first, n);
    }
    for (; n < end; ++n) {
      Rows<1>(from + first, count, weights + n * depth, depth, scales ? scales + n : nullptr,
              y + first, n);
    }
  }
}
