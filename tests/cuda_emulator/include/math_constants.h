// math_constants.h: the constants that have no literal.
#pragma once

#define CUDART_INF_F INFINITY
#define CUDART_NAN_F NAN
#define CUDART_MAX_NORMAL_F 3.402823466e+38f
#define CUDART_PI_F 3.141592654f
#define CUDART_INF static_cast<double>(INFINITY)
#define CUDART_NAN static_cast<double>(NAN)
#define CUDART_PI 3.14159265358979323846
