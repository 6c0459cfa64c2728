// Sixteen numbers at a time, from memory to float32 and back.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef float LooseFloats __attribute__((vector_size(64), aligned(4)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef int32_t Integers __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));
typedef uint16_t LooseHalves __attribute__((vector_size(32), aligned(2)));
typedef int8_t LooseBytes __attribute__((vector_size(16), aligned(1)));

struct BFloat16 {
  uint16_t bits;
};

inline Floats Load(const float* p) { return *reinterpret_cast<const LooseFloats*>(p); }

// Of the next two GCC 12 takes the general forms apart.
inline Floats Load(const BFloat16* p) {
#if defined(__AVX512F__)
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
#else
  const Halves halves = *reinterpret_cast<const LooseHalves*>(p);
  return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
#endif
}

inline Floats Load(const int8_t* p) {
#if defined(__AVX512F__)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return reinterpret_cast<Floats>(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
#else
  return __builtin_convertvector(*reinterpret_cast<const LooseBytes*>(p), Floats);
#endif
}

inline float Widen(float x) { return x; }
inline float Widen(int8_t x) { return x; }
inline float Widen(BFloat16 x) {
  const uint32_t word = static_cast<uint32_t>(x.bits) << 16;
  float result;
  std::memcpy(&result, &word, sizeof(result));
  return result;
}

inline void Narrow(float x, float* to) { *to = x; }
inline void Narrow(float x, BFloat16* to) {  // To the nearest, ties to even.
  uint32_t word;
  std::memcpy(&word, &x, sizeof(word));
  const bool nan = (word & 0x7fffffff) > 0x7f800000;
  const uint32_t rounded = (word + 0x7fff + (word >> 16 & 1)) >> 16;
  to->bits = static_cast<uint16_t>(nan ? word >> 16 | 0x40 : rounded);
}

// The sums of the lanes of kCount vectors (a power of two up to 16), sum i in lane i. Each is
// summed in one order, halves onto halves, however many are summed beside it.
template <int kCount>
inline Floats Sums(Floats* v) {
  const auto fold = [&](int count, auto halves) {
    if (count == 1) {
      v[0] = halves(v[0], v[0]);
    } else {
      for (int i = 0; i < count / 2; ++i) v[i] = halves(v[2 * i], v[2 * i + 1]);
    }
  };
  fold(kCount, [](Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  });
  fold(std::max(1, kCount / 2), [](Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  });
  fold(std::max(1, kCount / 4), [](Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
           __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
  });
  fold(std::max(1, kCount / 8), [](Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
           __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  });
  return v[0];
}

inline float Sum(Floats x) { return Sums<1>(&x)[0]; }

inline float Largest(Floats x) {
  float result = x[0];
  for (int i = 1; i < kLanes; ++i) result = std::max(result, x[i]);
  return result;
}

// exp between -87 and 88, to 2 units in the last place (Cephes' expf); beyond, of the limit.
inline Floats Exp(Floats x) {
  const Floats low = Floats{} - 87.0f, high = Floats{} + 88.0f;
  x = x > low ? x : low;
  x = x < high ? x : high;
  const Floats magic = Floats{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number.
  const Floats shifted = x * 1.44269504088896341f + magic;
  const Floats whole = shifted - magic;
  const Floats r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats p = Floats{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Integers power = (__builtin_convertvector(whole, Integers) + 127) << 23;
  return p * reinterpret_cast<Floats>(power);
}

// What the cache holds of a vector: rounded, or (int8) a factor and whole numbers.
template <typename C>
void Store(const float* x, int64_t depth, C* to, float* scale) {
  if constexpr (std::is_same_v<C, int8_t>) {
    float largest = 0.0f;
    for (int64_t d = 0; d < depth; ++d) largest = std::max(largest, std::abs(x[d]));
    *scale = largest / 127.0f;
    const float factor = largest > 0.0f ? 127.0f / largest : 0.0f;
    for (int64_t d = 0; d < depth; ++d) to[d] = static_cast<int8_t>(std::nearbyint(x[d] * factor));
  } else {
    for (int64_t d = 0; d < depth; ++d) Narrow(x[d], to + d);
  }
}
