/* SPDX-License-Identifier: MIT */
/*
** What QPAL_ABI 1 promised.  It must compile against every later header of QPAL_ABI 1: functions
** and enumerators stay as they were, structs that begin with 'size' may grow at their end, others
** never change.  Lines are only ever added here.
*/
#include <qpal.h>
#include <stddef.h>

#define SIZE_IS(type, bytes)   _Static_assert(sizeof(type) == (bytes), #type " changed")
#define SIZE_FROM(type, bytes) _Static_assert(sizeof(type) >= (bytes), #type " became smaller")
#define AT(type, x, at)        _Static_assert(offsetof(type, x) == (at), #type "." #x " moved")
#define VALUE(name, value)     _Static_assert((name) == (value), #name " changed")

_Static_assert(QPAL_ABI == 1, "another ABI: this list is of 1");

VALUE(QPAL_OK, 0);
VALUE(QPAL_E_ARG, 1);
VALUE(QPAL_E_IO, 2);
VALUE(QPAL_E_NOMEM, 3);
VALUE(QPAL_E_MISSING, 4);
VALUE(QPAL_E_DEVICE, 5);
VALUE(QPAL_E_FORMAT, 6);
VALUE(QPAL_E_MISMATCH, 7);
VALUE(QPAL_E_NO_KERNEL, 8);
VALUE(QPAL_MAX_MEMBERS, 8);
VALUE(QPAL_MAX_PARTS, 4);
VALUE(QPAL_MAX_FIELDS, 4);
VALUE(QPAL_MAX_CODEBOOKS, 4);
VALUE(QPAL_NONE, 2147483647);
VALUE(QPAL_F16, 0);
VALUE(QPAL_BF16, 1);
VALUE(QPAL_F32, 2);
VALUE(QPAL_GEMM, 0);
VALUE(QPAL_ROTATE, 1);
VALUE(QPAL_DEQUANT, 2);
VALUE(QPAL_GATHER, 3);
VALUE(QPAL_CURRENT, -1);
VALUE(QPAL_MATCH_EXACT, 0);
VALUE(QPAL_MATCH_SM_COUNT, 1);
VALUE(QPAL_MATCH_COMPATIBLE, 2);
VALUE(QPAL_MATCH_PTX, 3);
VALUE(QPAL_PDL, 1);
VALUE(QPAL_Y_IS_ZERO, 2);

SIZE_FROM(qpal_library_info, 64);
AT(qpal_library_info, size, 0);
AT(qpal_library_info, model, 8);
AT(qpal_library_info, generator, 16);
AT(qpal_library_info, file_bytes, 24);
AT(qpal_library_info, checksum, 32);
AT(qpal_library_info, toolkit, 40);
AT(qpal_library_info, targets, 44);
AT(qpal_library_info, quantizers, 48);
AT(qpal_library_info, groups, 52);
AT(qpal_library_info, kernels, 56);
SIZE_FROM(qpal_target_info, 40);
AT(qpal_target_info, size, 0);
AT(qpal_target_info, name, 8);
AT(qpal_target_info, chosen, 16);
AT(qpal_target_info, arch, 24);
AT(qpal_target_info, sm_count, 28);
AT(qpal_target_info, kernels, 32);
SIZE_FROM(qpal_quantizer_info, 48);
AT(qpal_quantizer_info, size, 0);
AT(qpal_quantizer_info, name, 8);
AT(qpal_quantizer_info, hash, 16);
AT(qpal_quantizer_info, rate_bits, 24);
AT(qpal_quantizer_info, stored_bits, 32);
AT(qpal_quantizer_info, layout, 40);
AT(qpal_quantizer_info, parts, 44);
SIZE_FROM(qpal_group_info, 40);
AT(qpal_group_info, size, 0);
AT(qpal_group_info, name, 8);
AT(qpal_group_info, path, 16);
AT(qpal_group_info, block, 24);
AT(qpal_group_info, columns, 28);
AT(qpal_group_info, members, 32);
AT(qpal_group_info, rows, 36);
AT(qpal_group_info, gathers, 40);
SIZE_IS(qpal_part_info, 96);
AT(qpal_part_info, quantizer, 0);
AT(qpal_part_info, column, 4);
AT(qpal_part_info, columns, 8);
AT(qpal_part_info, fields, 12);
AT(qpal_part_info, codebooks, 16);
AT(qpal_part_info, code_bytes, 24);
AT(qpal_part_info, field_bytes, 32);
AT(qpal_part_info, codebook_bytes, 64);
SIZE_FROM(qpal_linear_info, 424);
AT(qpal_linear_info, size, 0);
AT(qpal_linear_info, tensor, 8);
AT(qpal_linear_info, quantizer, 16);
AT(qpal_linear_info, rows, 20);
AT(qpal_linear_info, columns, 24);
AT(qpal_linear_info, parts, 28);
AT(qpal_linear_info, bytes, 32);
AT(qpal_linear_info, part, 40);
SIZE_FROM(qpal_kernel_info, 112);
AT(qpal_kernel_info, size, 0);
AT(qpal_kernel_info, name, 8);
AT(qpal_kernel_info, source, 16);
AT(qpal_kernel_info, target, 24);
AT(qpal_kernel_info, op, 28);
AT(qpal_kernel_info, type, 32);
AT(qpal_kernel_info, out_type, 36);
AT(qpal_kernel_info, columns, 40);
AT(qpal_kernel_info, batch, 44);
AT(qpal_kernel_info, grid, 48);
AT(qpal_kernel_info, block, 52);
AT(qpal_kernel_info, smem_bytes, 56);
AT(qpal_kernel_info, registers, 60);
AT(qpal_kernel_info, counters, 64);
AT(qpal_kernel_info, pdl, 68);
AT(qpal_kernel_info, adds, 72);
AT(qpal_kernel_info, rotates, 76);
AT(qpal_kernel_info, workspace_bytes, 80);
AT(qpal_kernel_info, cubin_bytes, 88);
AT(qpal_kernel_info, ptx_bytes, 96);
AT(qpal_kernel_info, latency_ps, 104);
SIZE_IS(qpal_bytes, 16);
AT(qpal_bytes, data, 0);
AT(qpal_bytes, bytes, 8);
SIZE_FROM(qpal_packed_linear, 624);
AT(qpal_packed_linear, size, 0);
AT(qpal_packed_linear, parts, 8);
AT(qpal_packed_linear, scale, 16);
AT(qpal_packed_linear, signs, 32);
AT(qpal_packed_linear, part, 48);
SIZE_FROM(qpal_tensor, 104);
AT(qpal_tensor, size, 0);
AT(qpal_tensor, bytes, 8);
AT(qpal_tensor, type, 24);
AT(qpal_tensor, dims, 32);
AT(qpal_tensor, dim, 40);
SIZE_FROM(qpal_device_info, 152);
AT(qpal_device_info, size, 0);
AT(qpal_device_info, name, 8);
AT(qpal_device_info, arch, 136);
AT(qpal_device_info, sm_count, 140);
AT(qpal_device_info, driver, 144);
AT(qpal_device_info, simulated, 148);
SIZE_FROM(qpal_load_options, 24);
AT(qpal_load_options, size, 0);
AT(qpal_load_options, exact, 8);
AT(qpal_load_options, constants, 16);
SIZE_FROM(qpal_kernels_info, 40);
AT(qpal_kernels_info, size, 0);
AT(qpal_kernels_info, target, 8);
AT(qpal_kernels_info, match, 12);
AT(qpal_kernels_info, kernels, 16);
AT(qpal_kernels_info, workspace_bytes, 24);
AT(qpal_kernels_info, counter_bytes, 32);
SIZE_IS(qpal_weights, 328);
AT(qpal_weights, scale, 0);
AT(qpal_weights, part, 8);
AT(qpal_weights, reserved, 296);
SIZE_IS(qpal_segment, 48);
AT(qpal_segment, weights, 0);
AT(qpal_segment, bias, 8);
AT(qpal_segment, residual, 16);
AT(qpal_segment, y, 24);
AT(qpal_segment, reserved, 32);
SIZE_FROM(qpal_gemm_args, 72);
AT(qpal_gemm_args, size, 0);
AT(qpal_gemm_args, group, 8);
AT(qpal_gemm_args, rows, 12);
AT(qpal_gemm_args, capacity, 16);
AT(qpal_gemm_args, type, 20);
AT(qpal_gemm_args, out_type, 24);
AT(qpal_gemm_args, flags, 28);
AT(qpal_gemm_args, x, 32);
AT(qpal_gemm_args, signs, 40);
AT(qpal_gemm_args, workspace, 48);
AT(qpal_gemm_args, counters, 56);
AT(qpal_gemm_args, segment, 64);
AT(qpal_gemm_args, x_stride, 72);
AT(qpal_gemm_args, y_stride, 76);
AT(qpal_gemm_args, residual_stride, 108);
SIZE_FROM(qpal_gemm_info, 56);
AT(qpal_gemm_info, size, 0);
AT(qpal_gemm_info, kernel, 8);
AT(qpal_gemm_info, batch, 12);
AT(qpal_gemm_info, launches, 16);
AT(qpal_gemm_info, adds, 20);
AT(qpal_gemm_info, pdl, 24);
AT(qpal_gemm_info, prefer_dequant, 28);
AT(qpal_gemm_info, workspace_bytes, 32);
AT(qpal_gemm_info, counter_bytes, 40);
AT(qpal_gemm_info, latency_ps, 48);
SIZE_FROM(qpal_rotate_args, 56);
AT(qpal_rotate_args, size, 0);
AT(qpal_rotate_args, columns, 8);
AT(qpal_rotate_args, rows, 12);
AT(qpal_rotate_args, type, 16);
AT(qpal_rotate_args, flags, 20);
AT(qpal_rotate_args, inverse, 24);
AT(qpal_rotate_args, x, 32);
AT(qpal_rotate_args, y, 40);
AT(qpal_rotate_args, signs, 48);
AT(qpal_rotate_args, x_stride, 56);
AT(qpal_rotate_args, y_stride, 60);
SIZE_FROM(qpal_dequant_args, 40);
AT(qpal_dequant_args, size, 0);
AT(qpal_dequant_args, group, 8);
AT(qpal_dequant_args, member, 12);
AT(qpal_dequant_args, type, 16);
AT(qpal_dequant_args, flags, 20);
AT(qpal_dequant_args, weights, 24);
AT(qpal_dequant_args, w, 32);
SIZE_FROM(qpal_gather_args, 64);
AT(qpal_gather_args, size, 0);
AT(qpal_gather_args, group, 8);
AT(qpal_gather_args, member, 12);
AT(qpal_gather_args, type, 16);
AT(qpal_gather_args, flags, 20);
AT(qpal_gather_args, rows, 24);
AT(qpal_gather_args, weights, 32);
AT(qpal_gather_args, ids, 40);
AT(qpal_gather_args, signs, 48);
AT(qpal_gather_args, y, 56);

/* Functions, with their types: a changed one is a conflicting declaration. */
const char *qpal_version(void);
unsigned qpal_abi(void);
const char *qpal_status_name(qpal_status status);
const char *qpal_message(void);
qpal_status qpal_library_open(const char *path, qpal_library **out);
qpal_status qpal_library_from_memory(const void *data, size_t bytes, qpal_library **out);
void qpal_library_close(qpal_library *library);
qpal_status qpal_library_describe(const qpal_library *library, qpal_library_info *info);
qpal_status qpal_library_target(const qpal_library *library, unsigned index,
                                qpal_target_info *info);
qpal_status qpal_library_quantizer(const qpal_library *library, unsigned index,
                                   qpal_quantizer_info *info);
qpal_status qpal_library_group(const qpal_library *library, unsigned index, qpal_group_info *info);
qpal_status qpal_library_find_group(const qpal_library *library, const char *name, unsigned *group);
qpal_status qpal_library_find_linear(const qpal_library *library, const char *tensor,
                                     unsigned *group, unsigned *member);
qpal_status qpal_library_linear(const qpal_library *library, unsigned group, unsigned member,
                                qpal_linear_info *info);
qpal_status qpal_library_kernel(const qpal_library *library, unsigned index,
                                qpal_kernel_info *info);
qpal_status qpal_packed_open(const char *path, qpal_packed **out);
void qpal_packed_close(qpal_packed *packed);
qpal_status qpal_packed_find(const qpal_packed *packed, const qpal_library *library, unsigned group,
                             unsigned member, qpal_packed_linear *out);
qpal_status qpal_packed_tensor(const qpal_packed *packed, const char *name, qpal_tensor *out);
qpal_status qpal_device_open(int ordinal, qpal_device **out);
void qpal_device_close(qpal_device *device);
qpal_status qpal_device_describe(const qpal_device *device, qpal_device_info *info);
qpal_status qpal_alloc(qpal_device *device, uint64_t bytes, qpal_ptr *out);
void qpal_free(qpal_device *device, qpal_ptr address);
qpal_status qpal_upload(qpal_device *device, qpal_ptr to, const void *from, uint64_t bytes);
qpal_status qpal_download(qpal_device *device, void *to, qpal_ptr from, uint64_t bytes);
qpal_status qpal_zero(qpal_device *device, qpal_ptr to, uint64_t bytes);
qpal_status qpal_wait(qpal_device *device, void *stream);
uint64_t qpal_constants_bytes(const qpal_library *library);
qpal_status qpal_kernels_load(const qpal_library *library, qpal_device *device,
                              const qpal_load_options *options, qpal_kernels **out);
void qpal_kernels_close(qpal_kernels *kernels);
qpal_status qpal_kernels_describe(const qpal_kernels *kernels, qpal_kernels_info *info);
qpal_status qpal_gemm_query(const qpal_kernels *kernels, const qpal_gemm_args *args,
                            qpal_gemm_info *info);
qpal_status qpal_gemm(const qpal_kernels *kernels, const qpal_gemm_args *args, void *stream);
qpal_status qpal_rotate(const qpal_kernels *kernels, const qpal_rotate_args *args, void *stream);
qpal_status qpal_dequant(const qpal_kernels *kernels, const qpal_dequant_args *args, void *stream);
qpal_status qpal_gather(const qpal_kernels *kernels, const qpal_gather_args *args, void *stream);
