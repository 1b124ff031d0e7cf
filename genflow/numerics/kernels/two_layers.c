/* What lies between the matrix products of a velocity of two hidden layers with its divergence.

       z1 = x W1 + b1,  z2 = a(z1) W2' + b2,  v = a(z2) W3' + x A' + b3,  div v = a'(z2) . (a'(z1) C') + tr A

   with the SiLU a and C = W2 * (W3' W1), elementwise; W2 and W3 carry the gains of their inputs. Each function is one
   pass where torch takes five to ten. The narrow products, with d inputs or outputs, are made on the way; those of the
   hidden size are the caller's.

   All matrices are float32, row by row, without gaps: n rows, d dimensions, w hidden units. `_bar` is the gradient of
   what stands before it. Sums over rows are added to what is there. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define PRAGMA(text) _Pragma(#text)
#define SUM(of) PRAGMA(omp simd reduction(+ : of)) /* the terms may be added in any order */

/* exp to two units in the last place: 2^k exp(r), |r| <= log(2) / 2, the second factor by a polynomial. Without
   branches, so that the compiler makes vectors of it. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 87.0f ? 87.0f : x;
    const float k = rintf(x * 1.44269504f);
    const float r = (x - k * 0.693145752f) - k * 1.42860677e-6f; /* log 2 in two parts: k times the first is exact */
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.3334519e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 5.0000001e-1f;
    p = p * r * r + r + 1.0f;
    const union { int32_t bits; float value; } power = {.bits = ((int32_t)k + 127) << 23};
    return p * power.value;
}

typedef struct { float value, slope, curvature; } Activation;

/* a = z s,  a' = s + a (1 - s),  a'' = (1 - s)(2 a' - a),  with the logistic function s */
static inline Activation silu(float z) {
    const float s = 1.0f / (1.0f + exponential(-z)), a = z * s, slope = s + a * (1.0f - s);
    return (Activation){a, slope, (1.0f - s) * (2.0f * slope - a)};
}

/* Weights with the gains of their inputs, W (1 + g). */
void gained(int64_t rows, int64_t w, const float *weights, const float *gain, float *restrict out) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < w; j++) out[i * w + j] = weights[i * w + j] * (1.0f + gain[j]);
}

/* Back through them: `bar` becomes that of the weights. */
void gained_back(int64_t rows, int64_t w, const float *weights, const float *gain, float *restrict bar,
                 float *restrict gain_bar) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < w; j++) {
            gain_bar[j] += bar[i * w + j] * weights[i * w + j];
            bar[i * w + j] *= 1.0f + gain[j];
        }
}

/* C = W2 * (W3' W1) */
void coupling(int64_t w, int64_t d, const float *w1, const float *w2, const float *w3, float *restrict c) {
    for (int64_t i = 0; i < w; i++, c += w, w2 += w) {
        memset(c, 0, w * sizeof(float));
        for (int64_t k = 0; k < d; k++)
            for (int64_t j = 0; j < w; j++) c[j] += w3[k * w + i] * w1[k * w + j];
        for (int64_t j = 0; j < w; j++) c[j] *= w2[j];
    }
}

/* Back through it. `overlap` is room for w numbers. */
void coupling_back(int64_t w, int64_t d, const float *w1, const float *w2, const float *w3, const float *c_bar,
                   float *restrict w1_bar, float *restrict w2_bar, float *restrict w3_bar, float *restrict overlap) {
    for (int64_t i = 0; i < w; i++, c_bar += w, w2 += w, w2_bar += w) {
        memset(overlap, 0, w * sizeof(float));
        for (int64_t k = 0; k < d; k++)
            for (int64_t j = 0; j < w; j++) overlap[j] += w3[k * w + i] * w1[k * w + j];
        for (int64_t j = 0; j < w; j++) {
            w2_bar[j] += c_bar[j] * overlap[j];
            overlap[j] = c_bar[j] * w2[j]; /* from here on its gradient */
        }
        for (int64_t k = 0; k < d; k++) {
            float dot = 0.0f;
            SUM(dot)
            for (int64_t j = 0; j < w; j++) {
                dot += overlap[j] * w1[k * w + j];
                w1_bar[k * w + j] += w3[k * w + i] * overlap[j];
            }
            w3_bar[k * w + i] += dot;
        }
    }
}

/* a(z1), a'(z1), a''(z1) */
void first_layer(int64_t n, int64_t d, int64_t w, const float *x, const float *w1, const float *bias,
                 float *restrict a, float *restrict slope, float *restrict curvature) {
    for (int64_t i = 0; i < n; i++, x += d, a += w, slope += w, curvature += w) {
        memcpy(a, bias, w * sizeof(float));
        for (int64_t k = 0; k < d; k++)
            for (int64_t j = 0; j < w; j++) a[j] += x[k] * w1[k * w + j];
        for (int64_t j = 0; j < w; j++) {
            const Activation at = silu(a[j]);
            a[j] = at.value, slope[j] = at.slope, curvature[j] = at.curvature;
        }
    }
}

/* Back through it. `z_bar` comes with z2_bar W2, `spread_bar` with spread_bar C. */
void first_layer_back(int64_t n, int64_t d, int64_t w, const float *x, const float *w1, const float *skip,
                      const float *slope, const float *curvature, const float *v_bar, const float *spread_bar,
                      float *restrict z_bar, float *restrict bias_bar, float *restrict w1_bar,
                      float *restrict x_bar) {
    for (int64_t i = 0; i < n;
         i++, x += d, slope += w, curvature += w, v_bar += d, spread_bar += w, z_bar += w, x_bar += d) {
        for (int64_t j = 0; j < w; j++) {
            z_bar[j] = z_bar[j] * slope[j] + spread_bar[j] * curvature[j];
            bias_bar[j] += z_bar[j];
        }
        for (int64_t k = 0; k < d; k++) {
            float dot = 0.0f;
            SUM(dot)
            for (int64_t j = 0; j < w; j++) {
                dot += z_bar[j] * w1[k * w + j];
                w1_bar[k * w + j] += x[k] * z_bar[j];
            }
            for (int64_t l = 0; l < d; l++) dot += v_bar[l] * skip[l * d + k];
            x_bar[k] = dot;
        }
    }
}

/* v and div v. `a` comes with a(z1) W2' and becomes a(z2), `spread` with a'(z1) C' and becomes a''(z2) spread. */
void second_layer(int64_t n, int64_t d, int64_t w, const float *x, const float *w3, const float *skip,
                  const float *bias, const float *output_bias, float *restrict a, float *restrict spread,
                  float *restrict slope, float *restrict v, float *restrict divergence) {
    float trace = 0.0f;
    for (int64_t k = 0; k < d; k++) trace += skip[k * d + k];
    for (int64_t i = 0; i < n; i++, x += d, a += w, spread += w, slope += w, v += d) {
        float sum = 0.0f;
        SUM(sum)
        for (int64_t j = 0; j < w; j++) {
            const Activation at = silu(a[j] + bias[j]);
            a[j] = at.value, slope[j] = at.slope;
            sum += spread[j] * at.slope;
            spread[j] *= at.curvature;
        }
        divergence[i] = sum + trace;
        for (int64_t k = 0; k < d; k++) {
            float dot = output_bias[k];
            SUM(dot)
            for (int64_t j = 0; j < w; j++) dot += a[j] * w3[k * w + j];
            for (int64_t l = 0; l < d; l++) dot += x[l] * skip[k * d + l];
            v[k] = dot;
        }
    }
}

/* Back through it; `spread` as it has become. */
void second_layer_back(int64_t n, int64_t d, int64_t w, const float *x, const float *w3, const float *a,
                       const float *slope, const float *spread, const float *v_bar, const float *divergence_bar,
                       float *restrict z_bar, float *restrict spread_bar, float *restrict bias_bar,
                       float *restrict output_bias_bar, float *restrict w3_bar, float *restrict skip_bar) {
    for (int64_t i = 0; i < n;
         i++, x += d, a += w, slope += w, spread += w, v_bar += d, z_bar += w, spread_bar += w) {
        const float r = divergence_bar[i];
        memset(z_bar, 0, w * sizeof(float));
        for (int64_t k = 0; k < d; k++) {
            for (int64_t j = 0; j < w; j++) {
                z_bar[j] += v_bar[k] * w3[k * w + j];
                w3_bar[k * w + j] += v_bar[k] * a[j];
            }
            output_bias_bar[k] += v_bar[k];
            skip_bar[k * d + k] += r;
            for (int64_t l = 0; l < d; l++) skip_bar[k * d + l] += v_bar[k] * x[l];
        }
        for (int64_t j = 0; j < w; j++) {
            z_bar[j] = z_bar[j] * slope[j] + spread[j] * r;
            spread_bar[j] = slope[j] * r;
            bias_bar[j] += z_bar[j];
        }
    }
}

/* The same with a pushed tangent e for each row in the place of the divergence:

       u1 = e W1,  h1 = a'(z1) u1,  u2 = h1 W2',  h2 = a'(z2) u2,  J e = h2 W3' + e A'

   What backward needs of a layer is a', and k = a'' u. */

/* a(z1), h1, a'(z1), k1 */
void push_first_layer(int64_t n, int64_t d, int64_t w, const float *x, const float *e, const float *w1,
                      const float *bias, float *restrict a, float *restrict h, float *restrict slope,
                      float *restrict k) {
    for (int64_t i = 0; i < n; i++, x += d, e += d, a += w, h += w, slope += w, k += w) {
        memcpy(a, bias, w * sizeof(float));
        memset(h, 0, w * sizeof(float));
        for (int64_t l = 0; l < d; l++)
            for (int64_t j = 0; j < w; j++) {
                a[j] += x[l] * w1[l * w + j];
                h[j] += e[l] * w1[l * w + j];
            }
        for (int64_t j = 0; j < w; j++) {
            const Activation at = silu(a[j]);
            const float u = h[j];
            a[j] = at.value, slope[j] = at.slope;
            h[j] = u * at.slope, k[j] = u * at.curvature;
        }
    }
}

/* Back through it. `z_bar` comes with z2_bar W2, `h_bar` with u2_bar W2. */
void push_first_layer_back(int64_t n, int64_t d, int64_t w, const float *x, const float *e, const float *w1,
                           const float *skip, const float *slope, const float *k, const float *v_bar,
                           float *restrict z_bar, float *restrict h_bar, float *restrict bias_bar,
                           float *restrict w1_bar, float *restrict x_bar) {
    for (int64_t i = 0; i < n;
         i++, x += d, e += d, slope += w, k += w, v_bar += d, z_bar += w, h_bar += w, x_bar += d) {
        for (int64_t j = 0; j < w; j++) {
            z_bar[j] = z_bar[j] * slope[j] + h_bar[j] * k[j];
            h_bar[j] *= slope[j]; /* from here on the gradient of u1 */
            bias_bar[j] += z_bar[j];
        }
        for (int64_t l = 0; l < d; l++) {
            float dot = 0.0f;
            SUM(dot)
            for (int64_t j = 0; j < w; j++) {
                dot += z_bar[j] * w1[l * w + j];
                w1_bar[l * w + j] += x[l] * z_bar[j] + e[l] * h_bar[j];
            }
            for (int64_t m = 0; m < d; m++) dot += v_bar[m] * skip[m * d + l];
            x_bar[l] = dot;
        }
    }
}

/* v and J e. `a` comes with a(z1) W2' and becomes a(z2), `h` with u2 and becomes h2. */
void push_second_layer(int64_t n, int64_t d, int64_t w, const float *x, const float *e, const float *w3,
                       const float *skip, const float *bias, const float *output_bias, float *restrict a,
                       float *restrict h, float *restrict slope, float *restrict k, float *restrict v,
                       float *restrict pushed) {
    for (int64_t i = 0; i < n; i++, x += d, e += d, a += w, h += w, slope += w, k += w, v += d, pushed += d) {
        for (int64_t j = 0; j < w; j++) {
            const Activation at = silu(a[j] + bias[j]);
            const float u = h[j];
            a[j] = at.value, slope[j] = at.slope;
            h[j] = u * at.slope, k[j] = u * at.curvature;
        }
        for (int64_t l = 0; l < d; l++) {
            float dot = output_bias[l], tangent = 0.0f;
            PRAGMA(omp simd reduction(+ : dot, tangent))
            for (int64_t j = 0; j < w; j++) {
                dot += a[j] * w3[l * w + j];
                tangent += h[j] * w3[l * w + j];
            }
            for (int64_t m = 0; m < d; m++) {
                dot += x[m] * skip[l * d + m];
                tangent += e[m] * skip[l * d + m];
            }
            v[l] = dot, pushed[l] = tangent;
        }
    }
}

/* Back through it. */
void push_second_layer_back(int64_t n, int64_t d, int64_t w, const float *x, const float *e, const float *w3,
                            const float *a, const float *h, const float *slope, const float *k, const float *v_bar,
                            const float *pushed_bar, float *restrict z_bar, float *restrict u_bar,
                            float *restrict bias_bar, float *restrict output_bias_bar, float *restrict w3_bar,
                            float *restrict skip_bar) {
    for (int64_t i = 0; i < n; i++, x += d, e += d, a += w, h += w, slope += w, k += w, v_bar += d,
                 pushed_bar += d, z_bar += w, u_bar += w) {
        memset(z_bar, 0, w * sizeof(float));
        memset(u_bar, 0, w * sizeof(float));
        for (int64_t l = 0; l < d; l++) {
            const float v = v_bar[l], p = pushed_bar[l];
            for (int64_t j = 0; j < w; j++) {
                z_bar[j] += v * w3[l * w + j];
                u_bar[j] += p * w3[l * w + j];
                w3_bar[l * w + j] += v * a[j] + p * h[j];
            }
            output_bias_bar[l] += v;
            for (int64_t m = 0; m < d; m++) skip_bar[l * d + m] += v * x[m] + p * e[m];
        }
        for (int64_t j = 0; j < w; j++) {
            z_bar[j] = z_bar[j] * slope[j] + u_bar[j] * k[j];
            u_bar[j] *= slope[j];
            bias_bar[j] += z_bar[j];
        }
    }
}
