-- gemm on CUDA cores (fp32 multiply-adds), decode fused: templates/gemm_cuda.cu.in.
-- The first value of a tunable is its default.

return {
  name = "gemm_cuda",
  op = "gemm",
  path = "cuda",
  template = "templates/gemm_cuda.cu.in",
  help = "Y = r (X~ W^T) + bias + residual on CUDA cores, batch 1 to 16",
  tunables = {
    { name = "warps", tag = "w", values = { 0, 8, 16, 24, 32 }, help = "warps a block; 0: 16, or 8 where more than 4 rows of x need the registers" },
    { name = "runs", tag = "r", values = { 0, 1, 2 }, help = "superblocks a unit of work; 0: two where they are one block long" },
    { name = "stages", tag = "s", values = { 2, 3, 4 }, help = "units in flight a warp" },
    { name = "unfold", tag = "f", values = { 1, 0 }, help = "1: tables hold what follows the narrowest cut; 0: plain codebooks" },
    { name = "copies", tag = "c", values = { 0, 1, 2, 4, 8, 16, 32 }, help = "copies of each table entry; 0: as many as fit" },
    { name = "atomic", tag = "a", values = { 0, 1 }, help = "1: red.add to a zeroed fp32 Y; 0: in order, the same bits every run" },
    { name = "staged", tag = "g", values = { 1, 0 }, help = "1: further units are fetched after the tables are stored" },
    { name = "pdl", tag = "p", values = { 0, 1 }, help = "1: programmatic dependent launch (sm_90 and later)" },
    { name = "mulshift", tag = "m", values = { 1, 0 }, help = "1: left shifts by multiplication" },
    { name = "slabs", tag = "l", values = { 0, 1, 2, 4, 8, 16 }, help = "slabs of K; 0: as few as X's room in shared memory asks" },
    { name = "blocks", tag = "b", values = { 1, 2 }, help = "blocks a multiprocessor" },
  },
  constraint = function(problem, t)
    if problem.batch > 16 then
      return false, "CUDA cores take at most 16 batch rows; use the tensor path"
    end
    if t.atomic == 1 and problem.out_type ~= "f32" then
      return false, "atomic sums need an f32 output, not " .. problem.out_type
    end
    if t.pdl == 1 and problem.arch < 90 then
      return false, "programmatic dependent launch needs sm_90 or later"
    end
    if t.warps * t.blocks > 48 then
      return false, "more than 48 warps a multiprocessor leave too few registers"
    end
    return true
  end,
}
