// cuda_pipeline.h: asynchronous copies by CUDA's own functions.
#pragma once

inline void __pipeline_memcpy_async(void* shared, const void* global, size_t bytes, size_t zeros = 0,
                                    emulator::Where where = emulator::Where::here()) {
  emulator::copy_async(shared, global, static_cast<int>(bytes), static_cast<int>(bytes - zeros), where);
}
inline void __pipeline_commit(emulator::Where where = emulator::Where::here()) {
  emulator::copy_commit(where);
}
inline void __pipeline_wait_prior(size_t groups, emulator::Where where = emulator::Where::here()) {
  emulator::copy_wait(static_cast<int>(groups), where);
}
