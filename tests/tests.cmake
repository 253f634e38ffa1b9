# SPDX-License-Identifier: MIT
# Tests of every module (ROOM/test_*.c), benchmarks (bench/bench_*.c), fuzz targets (fuzz/fuzz_*.c),
# and scripts that install and bundle the product and use the result.

set(test_definitions
  QP_SOURCE_DIR="${PROJECT_SOURCE_DIR}" QP_BINARY_DIR="${PROJECT_BINARY_DIR}")
# Nothing of the user's: not their cubin cache, not their QPAL_HOME.  Cases of one test follow each
# other, so that what one has compiled is in the cache for the next; ctest runs tests beside others.
set(test_environment
  QPAL_CACHE=set:${PROJECT_BINARY_DIR}/cache QPAL_HOME=unset: CRITERION_JOBS=set:1
  UBSAN_OPTIONS=set:print_stacktrace=1:halt_on_error=1
  ASAN_OPTIONS=set:allocator_may_return_null=1) # as malloc does where memory cannot be had
set(patience 600) # seconds that a test may take
if(QPAL_SANITIZE OR CMAKE_BUILD_TYPE STREQUAL Debug) # one of a kind shows what the C code does
  list(APPEND test_environment QPAL_FEW=set:1)
  set(patience 1800)
endif()

# This machine's NVRTC, told to optimise little and to leave out ptxas: for all tests but those that
# look at machine code or at what the optimiser makes.
# And one with ptxas, for those that look at what it says of kernels; and one that optimises less
# still, for those that compile many and run few.
foreach(name quick_nvrtc quick_nvrtc_ptxas hasty_nvrtc)
  add_library(${name} MODULE tests/fake/quick_nvrtc.c tests/fake/plain_cubin.c)
  target_link_libraries(${name} PRIVATE qp_flags libqpal)
  target_link_options(${name} PRIVATE LINKER:--exclude-libs,ALL)
  set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endforeach()
target_compile_definitions(quick_nvrtc_ptxas PRIVATE PTXAS)
target_compile_definitions(hasty_nvrtc PRIVATE HASTY)
set(quick_environment ${test_environment} QPAL_NVRTC=set:$<TARGET_FILE:quick_nvrtc>)
set(hasty_environment ${test_environment} QPAL_NVRTC=set:$<TARGET_FILE:hasty_nvrtc>)
set(runs_few test_tune test_bench)
set(wants_ptxas test_architectures test_candidate)
set(as_shipped test_compile test_cubin test_cost test_instruction_mix test_hot_path test_dynlib
  test_library_probe test_rotation test_encode_kernel)

# What searches or computes much in the test itself; the others are compiled without optimisation.
set(computes test_encode test_trellis test_nested test_trellis_table test_fields test_train test_hadamard
  test_lower test_reference test_layout test_vector_math test_attention test_backward test_calibrate
  test_quantize test_sparse test_steady test_plan_solve test_choose test_products test_passes test_tokenizer)

# Labels, by which presets choose their tests.  threads: what asks for several threads, as its source
# says, or starts as many as there are CPUs; the thread sanitizer builds and runs these alone, but
# for two that take longest there and whose threads others start, test_encode (as test_settle does)
# and test_evaluate (as test_forward), and test_lua_host: a watchdog's signal comes too late there.
# kernels: what judges kernels or numbers, one after the other by the same C code, which other tests
# run, too; text: what reads sources.  Builds that look at the C code leave these two out (debug,
# asan).
set(threads test_codebook test_rotate test_unpack)
set(asks_for_threads "pthread_create|qp_parallel_open|threads = [2-9]|--threads [2-9]")
set(kernels test_cost test_encode_kernel test_generator_breaks)
add_custom_target(threads COMMENT "Tests that start threads are built")
include(CheckLinkerFlag)
check_linker_flag(C -fuse-ld=gold LINKER_IS_GOLD)

unset(CMAKE_C_CPPCHECK) # it knows no Criterion

# The library that Criterion needs for what no test uses (tests/fake/fake_git2.c); RPATH, not
# RUNPATH, also counts for what Criterion needs.
if(CRITERION_FOUND AND CMAKE_OBJDUMP)
  execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${pkgcfg_lib_CRITERION_criterion}
    OUTPUT_VARIABLE criterion_needs ERROR_QUIET)
  if(criterion_needs MATCHES "NEEDED +(libgit2\\.so[.0-9]*)")
    set(fake_git2 ${CMAKE_MATCH_1})
    add_library(fake_git2 MODULE tests/fake/fake_git2.c)
    set_target_properties(fake_git2 PROPERTIES PREFIX "" OUTPUT_NAME ${fake_git2} SUFFIX ""
      LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/criterion)
  endif()
endif()

if(CRITERION_FOUND)
  file(GLOB TEST_SRC CONFIGURE_DEPENDS tests/*/test_*.c)
  foreach(source ${TEST_SRC})
    get_filename_component(name ${source} NAME_WE)
    file(STRINGS ${source} asks REGEX ${asks_for_threads} LIMIT_COUNT 1)
    if(asks AND NOT name MATCHES "^test_(encode|evaluate|lua_host)$")
      list(APPEND threads ${name})
    endif()
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE qp_tuner ${lua})
    if(QPAL_SANITIZE STREQUAL thread)
      target_sources(${name} PRIVATE tests/fake/plain_runner.c)
      target_include_directories(${name} SYSTEM PRIVATE ${CRITERION_INCLUDE_DIRS})
    else()
      target_link_libraries(${name} PRIVATE PkgConfig::CRITERION)
    endif()
    target_compile_definitions(${name} PRIVATE ${test_definitions})
    if(CMAKE_BUILD_TYPE STREQUAL Release OR QPAL_SANITIZE) # compiled more often than run
      if(name IN_LIST computes)
        target_compile_options(${name} PRIVATE -O1)
      else()
        target_compile_options(${name} PRIVATE -O0)
        set_target_properties(${name} PROPERTIES QP_UNOPTIMISED ON)
      endif()
      if(LINKER_IS_GOLD) # in a third of the time
        target_link_options(${name} PRIVATE -fuse-ld=gold)
      endif()
    endif()
    if(TARGET fake_git2)
      set_target_properties(${name} PROPERTIES BUILD_RPATH ${PROJECT_BINARY_DIR}/criterion)
      target_link_options(${name} PRIVATE LINKER:--disable-new-dtags)
      add_dependencies(${name} fake_git2)
    endif()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES
      ENVIRONMENT_MODIFICATION "${quick_environment}" TIMEOUT ${patience})
    if(name IN_LIST as_shipped)
      set_tests_properties(${name} PROPERTIES ENVIRONMENT_MODIFICATION "${test_environment}")
    elseif(name IN_LIST runs_few)
      set_tests_properties(${name} PROPERTIES ENVIRONMENT_MODIFICATION "${hasty_environment}")
      add_dependencies(${name} hasty_nvrtc)
    elseif(name IN_LIST wants_ptxas)
      set_tests_properties(${name} PROPERTIES ENVIRONMENT_MODIFICATION
        "${test_environment};QPAL_NVRTC=set:$<TARGET_FILE:quick_nvrtc_ptxas>")
      add_dependencies(${name} quick_nvrtc_ptxas)
    endif()
    foreach(label threads kernels)
      if(name IN_LIST ${label})
        set_tests_properties(${name} PROPERTIES LABELS ${label})
      endif()
    endforeach()
    if(name IN_LIST threads)
      add_dependencies(threads ${name})
    endif()
    add_dependencies(${name} quick_nvrtc)
    if(TARGET qpal)
      add_dependencies(${name} qpal) # tests of the command run it
    endif()
  endforeach()
else()
  message(STATUS "Criterion was not found (Debian: libcriterion-dev): no tests will be built")
endif()

# A driver with CUPTI, NVML and cuBLAS for tests of what runs on a GPU; they need none.
if(CRITERION_FOUND)
  add_library(fake_cuda MODULE
    tests/fake/fake_cuda.c tests/fake/fake_cupti.c tests/fake/fake_nvml.c tests/fake/fake_cublas.c
    runtime/half.c)
  target_include_directories(fake_cuda PRIVATE ${PROJECT_SOURCE_DIR})
  target_include_directories(fake_cuda SYSTEM PRIVATE ${CUDA_INCLUDE_DIR})
  set_target_properties(fake_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  add_library(fake_nvml_old MODULE tests/fake/fake_nvml.c)
  target_compile_definitions(fake_nvml_old PRIVATE FAKE_NVML_OLD)
  set_target_properties(fake_nvml_old PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  add_dependencies(fake_cuda fake_nvml_old)
  foreach(name test_cuda test_library_cuda test_meter_cuda test_measurer test_cublas test_engine test_bench
      test_runner test_out_of_memory)
    add_dependencies(${name} fake_cuda)
  endforeach()
endif()

# An NVRTC that tells a version and does nothing else, for tests of where libraries are found.
if(CRITERION_FOUND)
  add_library(fake_nvrtc MODULE tests/fake/fake_nvrtc.c)
  set_target_properties(fake_nvrtc PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  foreach(name test_dynlib test_library_probe test_description_kept)
    add_dependencies(${name} fake_nvrtc)
  endforeach()
endif()

# The examples of the public interface, built as an engine would be but with the simulator, and the
# program that judges what one of them computed.
add_executable(example_block runtime/examples/block.c)
target_compile_definitions(example_block PRIVATE EXAMPLE_SIMULATOR)
target_include_directories(example_block PRIVATE runtime/include)
target_compile_options(example_block PRIVATE -Wall -Wextra -Wconversion -Wshadow)
target_link_libraries(example_block PRIVATE libqpal_sim)
add_executable(example_generate runtime/examples/generate.c)
target_compile_definitions(example_generate PRIVATE EXAMPLE_SIMULATOR)
target_include_directories(example_generate PRIVATE runtime/include)
target_compile_options(example_generate PRIVATE -Wall -Wextra -Wconversion -Wshadow)
target_link_libraries(example_generate PRIVATE libqpal_sim m)
find_library(cuda_stub cuda PATHS ${cuda_root}/lib64/stubs NO_DEFAULT_PATH)
if(cuda_stub AND NOT QPAL_SANITIZE) # with its CUDA graph, for a GPU
  add_executable(example_generate_cuda runtime/examples/generate.c)
  target_compile_definitions(example_generate_cuda PRIVATE EXAMPLE_CUDA)
  target_include_directories(example_generate_cuda PRIVATE runtime/include)
  target_include_directories(example_generate_cuda SYSTEM PRIVATE ${CUDA_INCLUDE_DIR})
  target_compile_options(example_generate_cuda PRIVATE -Wall -Wextra -Wconversion -Wshadow)
  target_link_libraries(example_generate_cuda PRIVATE libqpal ${cuda_stub} m)
endif()
add_executable(compare_block tests/circle/compare_block.c)
target_link_libraries(compare_block PRIVATE qp_tuner ${lua})

# What tests/model/against_transformers/run compares; no part of the tests.
add_executable(forward_families EXCLUDE_FROM_ALL tests/model/forward_families.c)
target_link_libraries(forward_families PRIVATE qp_tuner ${lua})
# And what tests/packings/against_packages/run compares.
add_executable(read_packings EXCLUDE_FROM_ALL tests/packings/read_packings.c)
target_link_libraries(read_packings PRIVATE qp_tuner ${lua})

# Benchmarks print figures and judge nothing:  cmake --build build --target bench
add_custom_target(bench COMMENT "Benchmarks are built in ${PROJECT_BINARY_DIR}")
file(GLOB BENCH_SRC CONFIGURE_DEPENDS tests/bench/bench_*.c)
foreach(source ${BENCH_SRC})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} EXCLUDE_FROM_ALL ${source})
  target_link_libraries(${name} PRIVATE qp_tuner ${lua})
  target_compile_definitions(${name} PRIVATE ${test_definitions})
  add_dependencies(bench ${name})
endforeach()

# Fuzz targets (libFuzzer, so clang): the core and the tuner once more, instrumented.
file(GLOB FUZZ_SRC CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
if(CMAKE_C_COMPILER_ID STREQUAL Clang)
  add_custom_target(fuzz COMMENT "Fuzz targets are built in ${PROJECT_BINARY_DIR}")
  set(fuzz_flags -fsanitize=address,undefined -fno-sanitize-recover=all)
  add_library(qp_core_fuzz STATIC EXCLUDE_FROM_ALL
    ${core_sources} ${SIM_SRC} ${RUNTIME_SRC} ${TUNER_SRC})
  target_include_directories(qp_core_fuzz SYSTEM PRIVATE ${LUA_INCLUDE_DIRS})
  target_compile_options(qp_core_fuzz PRIVATE ${fuzz_flags} -fsanitize=fuzzer-no-link)
  target_link_libraries(qp_core_fuzz PUBLIC ${core_libraries})
  foreach(source ${FUZZ_SRC})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
    target_compile_options(${name} PRIVATE ${fuzz_flags} -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE ${fuzz_flags} -fsanitize=fuzzer)
    target_link_libraries(${name} PRIVATE qp_core_fuzz ${lua})
    add_dependencies(fuzz ${name})
  endforeach()
else()
  add_custom_target(fuzz
    COMMAND ${CMAKE_COMMAND} -E echo "Fuzz targets need clang: cmake --preset clang"
    COMMAND ${CMAKE_COMMAND} -E false VERBATIM)
endif()

# What is installed and what is bundled, used as a stranger would.  Not with instrumented code:
# whoever links it would have to be instrumented too.
if(NOT QPAL_SANITIZE AND NOT QPAL_ANALYZE)
  add_test(NAME install
    COMMAND ${PROJECT_SOURCE_DIR}/tests/install/run
      ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER} ${CMAKE_GENERATOR})
  if(TARGET bundle)
    add_test(NAME wheel COMMAND ${PROJECT_SOURCE_DIR}/tests/python/wheel ${PROJECT_BINARY_DIR})
    set_tests_properties(wheel PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
    add_test(NAME bundle
      COMMAND ${PROJECT_SOURCE_DIR}/tests/bundle/run
        ${PROJECT_BINARY_DIR} ${bundle_name} ${PROJECT_VERSION})
    set_tests_properties(wheel bundle PROPERTIES RESOURCE_LOCK bundle) # both make it
  endif()
endif()

# The rooms of the house: who may include whom; presets; what divides a time over fuzz targets.
add_test(NAME includes COMMAND ${PROJECT_SOURCE_DIR}/tests/includes/run)
add_test(NAME lengths COMMAND ${PROJECT_SOURCE_DIR}/tests/includes/lengths)
add_test(NAME includes_breaks COMMAND ${PROJECT_SOURCE_DIR}/tests/includes/breaks)
add_test(NAME presets COMMAND ${PROJECT_SOURCE_DIR}/tests/presets)
add_test(NAME fuzz_all COMMAND ${PROJECT_SOURCE_DIR}/tests/fuzz/fakes)
set_tests_properties(includes lengths includes_breaks presets fuzz_all PROPERTIES LABELS text)

# Tuning in shards, also on a cluster where Slurm is installed.
if(TARGET qpal AND NOT QPAL_ANALYZE)
  add_test(NAME slurm COMMAND ${PROJECT_SOURCE_DIR}/tests/slurm/run ${PROJECT_BINARY_DIR})
  set_tests_properties(slurm PROPERTIES
    ENVIRONMENT_MODIFICATION "${hasty_environment}" TIMEOUT ${patience})
endif()

# Checkpoints and configs as others have brought them.
if(TARGET qpal AND NOT QPAL_ANALYZE)
  add_test(NAME cases COMMAND ${PROJECT_SOURCE_DIR}/tests/cases/run ${PROJECT_BINARY_DIR})
  set_tests_properties(cases PROPERTIES ENVIRONMENT_MODIFICATION "${quick_environment}")
endif()

# Commands that are ended at a call that changes a file, what goes on beside one, and beside how many
# threads one forks; not with sanitizers, which want to be loaded first.
if(TARGET qpal AND NOT QPAL_ANALYZE AND NOT QPAL_SANITIZE)
  add_library(crash_shim MODULE tests/crash/crash_shim.c)
  target_link_libraries(crash_shim PRIVATE qp_flags ${CMAKE_DL_LIBS})
  set_target_properties(crash_shim PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  add_library(clock_shim MODULE tests/crash/clock_shim.c)
  target_link_libraries(clock_shim PRIVATE qp_flags)
  set_target_properties(clock_shim PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  add_test(NAME crash COMMAND ${PROJECT_SOURCE_DIR}/tests/crash/run ${PROJECT_BINARY_DIR})
  add_test(NAME beside COMMAND ${PROJECT_SOURCE_DIR}/tests/crash/beside ${PROJECT_BINARY_DIR})
  add_library(fork_shim MODULE tests/command/fork_shim.c)
  target_link_libraries(fork_shim PRIVATE qp_flags ${CMAKE_DL_LIBS})
  set_target_properties(fork_shim PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  add_test(NAME forks COMMAND ${PROJECT_SOURCE_DIR}/tests/command/forks ${PROJECT_BINARY_DIR})
  set_tests_properties(crash beside forks PROPERTIES
    ENVIRONMENT_MODIFICATION "${quick_environment}" TIMEOUT 600)
endif()

# The command's own proofs.  As shipped: each kind of quantizer in every family's steady state, and
# each other operation.  With an NVRTC that optimises little, in less than half the time: what else
# `qpal check` covers, each quantizer alone in dequant or one of gemm's families, and that broken
# templates are seen.  tests/nightly runs `qpal check`, which is all of it as shipped.
if(TARGET qpal AND NOT QPAL_ANALYZE)
  # What is there for qpal import alone differs from int4-g128 and nf4-g64 in numbers; q4_1 has a
  # decode of its own.
  set(for_import int3-g128,int4-g32,int4-g64,int8-g128,q5_0,q5_1,q8_0,tq2_0,iq4_nl)
  set(for_import ${for_import},int4-g128-bf16,int4-g64-bf16,int4-g32-bf16)
  # Those in BF16 differ from e4m3-row-bf16 and nf4-g64-f32 in groups and in how they round.
  set(for_import ${for_import},e4m3-g128-bf16,nvfp4-f32-bf16,nf4-g64-f32-bf16)
  # Of formats with fields of two sizes q4_k stands for all; tests/formats/run looks at the others.
  set(for_import ${for_import},q2_k,q3_k,q5_k,q6_k,iq4_xs,nf4-g64-dq)
  set(for_import ${for_import},fp4-g64-f32,fp4-g64-f32-bf16,int8-row-f32-bf16)
  set(for_import ${for_import},nvfp4-quotient-bf16,affine4-g32,affine4-g64,affine8-g64)
  set(for_import ${for_import},affine4-g64-bf16,affine8-g64-bf16)
  # Of those with sparse entries squeezellm-3; of vectors of 4 with fields iq3_xxs.
  set(for_import ${for_import},squeezellm-4,spqr-3,ccq-2)
  # itq3_s has the kernels of int3-g128 with a wider group; rotations in blocks have their own rows.
  set(for_import ${for_import},itq3_s)
  # The parts of exl2-3.3, which is checked with all of them.
  set(for_import ${for_import},exl2-8,exl2-6,exl2-5,exl2-4,exl2-3,exl2-2)
  set(shipped --kinds --few --singles none --device sim)
  add_test(NAME check_shipped COMMAND qpal check ${shipped} --quiet)
  list(JOIN shipped " " shipped)
  add_test(NAME check_quick COMMAND ${PROJECT_SOURCE_DIR}/tests/check/rest $<TARGET_FILE:qpal>
    ${shipped} --without-op encode,encode-fed --singles turn --no-pairs --without ${for_import}
    --device sim --quiet)
  # Searches take long in the simulator, and half as long when they are optimised.
  add_test(NAME check_encode COMMAND ${PROJECT_SOURCE_DIR}/tests/check/rest $<TARGET_FILE:qpal>
    ${shipped} --op encode --without ${for_import} --device sim --quiet)
  add_test(NAME check_chains COMMAND qpal check nuq-4 tcq-3 --chains --device sim --quiet)
  add_test(NAME check_unrotated COMMAND qpal check nuq-4 tcq-2.25 --few --unrotate --device sim
    --quiet)
  add_test(NAME breaks COMMAND ${PROJECT_SOURCE_DIR}/tests/breaks.sh
    $<TARGET_FILE:qpal> ${PROJECT_SOURCE_DIR})
  set_tests_properties(check_shipped check_encode PROPERTIES
    ENVIRONMENT_MODIFICATION "${test_environment}" TIMEOUT 1800)
  set_tests_properties(check_quick check_chains check_unrotated breaks PROPERTIES
    ENVIRONMENT_MODIFICATION "${quick_environment}" TIMEOUT 1800)
  set_tests_properties(check_shipped check_quick breaks PROPERTIES COST 1000)
  set_tests_properties(check_shipped check_quick check_encode PROPERTIES
    PROCESSORS 2) # each divides its kernels itself
  set_tests_properties(check_shipped check_quick check_encode check_chains check_unrotated breaks
    PROPERTIES LABELS kernels)
endif()

# What a stranger adds, added in a copy; kernels rebuilt by hand from what their heads say.
if(TARGET qpal AND NOT QPAL_ANALYZE)
  add_test(NAME add COMMAND ${PROJECT_SOURCE_DIR}/tests/add/run
    $<TARGET_FILE:qpal> ${PROJECT_SOURCE_DIR})
  add_test(NAME rebuild COMMAND ${PROJECT_SOURCE_DIR}/tests/command/rebuild $<TARGET_FILE:qpal>)
  set_tests_properties(add rebuild PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77 LABELS kernels)
  set_tests_properties(add PROPERTIES ENVIRONMENT_MODIFICATION "${quick_environment}")
  set_tests_properties(rebuild PROPERTIES ENVIRONMENT_MODIFICATION "${test_environment}")
endif()

# The whole circle on a tiny checkpoint; the Python module on what it made; the promises of the
# header.
if(TARGET qpal AND NOT QPAL_ANALYZE AND NOT QPAL_SANITIZE)
  add_test(NAME circle COMMAND ${PROJECT_SOURCE_DIR}/tests/circle/run ${PROJECT_BINARY_DIR})
  set_tests_properties(circle PROPERTIES FIXTURES_SETUP circle)
  foreach(word numpy torch cuda modules transformers calibrate)
    add_test(NAME python_${word} COMMAND ${PROJECT_SOURCE_DIR}/tests/python/run
      ${word} ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
    set_tests_properties(python_${word} PROPERTIES FIXTURES_REQUIRED circle SKIP_RETURN_CODE 77)
  endforeach()
  add_test(NAME python_decoder COMMAND ${PROJECT_SOURCE_DIR}/tests/python/run
    decoder ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
  set_tests_properties(python_decoder PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600
    ENVIRONMENT_MODIFICATION "${test_environment}")
  add_test(NAME python_experts COMMAND ${PROJECT_SOURCE_DIR}/tests/python/run
    experts ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
  set_tests_properties(python_experts PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600
    ENVIRONMENT_MODIFICATION "${quick_environment}")
  add_test(NAME python_experts_torch COMMAND ${PROJECT_SOURCE_DIR}/tests/python/run
    experts_torch ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
  set_tests_properties(python_experts_torch PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600
    ENVIRONMENT_MODIFICATION "${quick_environment}")
  add_test(NAME python_ranks COMMAND ${PROJECT_SOURCE_DIR}/tests/python/run
    ranks ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
  set_tests_properties(python_ranks PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600
    ENVIRONMENT_MODIFICATION "${quick_environment}")
  add_test(NAME python_rank_experts COMMAND ${PROJECT_SOURCE_DIR}/tests/python/run
    rank_experts ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
  set_tests_properties(python_rank_experts PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600
    ENVIRONMENT_MODIFICATION "${quick_environment}")
  add_test(NAME python_rank_parts COMMAND ${PROJECT_SOURCE_DIR}/tests/python/run
    rank_parts ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
  set_tests_properties(python_rank_parts PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600
    ENVIRONMENT_MODIFICATION "${quick_environment}")
  add_test(NAME generate COMMAND ${PROJECT_SOURCE_DIR}/tests/generate/run ${PROJECT_BINARY_DIR})
  set_tests_properties(generate PROPERTIES FIXTURES_REQUIRED circle TIMEOUT 600
    ENVIRONMENT_MODIFICATION "${quick_environment}")
  add_test(NAME abi COMMAND ${PROJECT_SOURCE_DIR}/tests/abi/run
    ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
  add_test(NAME readme COMMAND ${PROJECT_SOURCE_DIR}/tests/readme/run
    ${PROJECT_BINARY_DIR} ${CMAKE_C_COMPILER})
  set_tests_properties(readme PROPERTIES FIXTURES_REQUIRED circle)
  set_tests_properties(python_numpy python_torch python_cuda python_modules python_transformers
    python_calibrate abi circle readme PROPERTIES
    ENVIRONMENT_MODIFICATION "${quick_environment}" TIMEOUT 600)
endif()
