// cuda_runtime.h: all of it that a kernel uses is in cuda_emulator.h already.
#pragma once
