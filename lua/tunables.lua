-- Tunables and limits that families share, and what encoders are; the files of lua/families are run
-- with these globals.

-- A tunable of one name, short form and help; the family gives its values, the first is
-- the default.
local shared = {
  warps = { "w", "warps a block" },
  runs = { "r", "superblocks a unit of work; 0: one, two, or four of few words" },
  stages = { "s", "units in flight a warp" },
  unfold = { "f", "1: tables hold what follows the narrowest cut; 0: plain codebooks" },
  copies = { "c", "copies of each table entry; 0: as many as fit" },
  atomic = { "a", "1: red.add to a zeroed fp32 Y; 0: in order, the same bits every run" },
  owned = { "o", "1: blocks have whole row groups and add in shared memory: no counters" },
  staged = { "g", "1: further units are fetched after the tables are stored" },
  pdl = { "p", "1: programmatic dependent launch (sm_90 and later)" },
  mulshift = { "m", "1: left shifts by multiplication" },
  slabs = { "l", "slabs of K; 0: as few as X's room in shared memory asks" },
  blocks = { "b", "blocks a multiprocessor" },
}

-- tunable("warps", { 16, 8 }) or, with a help of the family's own,
-- tunable("warps", { 0, 8 }, "...")
function tunable(name, values, help)
  local t = shared[name]
  if not t then
    error("'" .. name .. "' is no shared tunable: give it as { name = , tag = , values = , " ..
          "help = }", 2)
  end
  return { name = name, tag = t[1], values = values, help = help or t[2] }
end

-- The tunables of kernels whose loop is templates/gemm_units.cuh.in, but for warps and runs, which
-- differ, and without those that 'without' names.
function gemm_tunables(warps, runs, without)
  local list = {
    warps, runs,
    tunable("stages", { 2, 3, 4 }),
    tunable("unfold", { 1, 0 }),
    tunable("copies", { 0, 1, 2, 4, 8, 16, 32 }),
    tunable("atomic", { 0, 1 }),
    tunable("owned", { 0, 1 }),
    tunable("staged", { 1, 0 }),
    tunable("pdl", { 0, 1 }),
    tunable("mulshift", { 1, 0 }),
    tunable("slabs", { 0, 1, 2, 4, 8, 16 }),
    tunable("blocks", { 1, 2 }),
  }
  for _, name in ipairs(without or {}) do
    for i = #list, 1, -1 do
      if list[i].name == name then table.remove(list, i) end
    end
  end
  return list
end

-- Of templates/gemm_cuda.cu.in and templates/gemm_tensor.cu.in.
function gemm_cuda_tunables(without)
  local warps = tunable("warps", { 0, 8, 16, 24, 32 },
    "warps a block; 0: 16, or 8 where more than 4 rows of x need the registers")
  return gemm_tunables(warps, tunable("runs", { 0, 1, 2 }), without)
end
function gemm_tensor_tunables(without)
  local warps = tunable("warps", { 16, 8, 24, 32 })
  return gemm_tunables(warps, tunable("runs", { 0, 1, 2, 4 }), without)
end

-- What every kernel of templates/gemm.cuh.in refuses: true, or false and the reason.
function gemm_allows(problem, t)
  if t.atomic == 1 and problem.out_type ~= "f32" then
    return false, "atomic sums need an f32 output, not " .. problem.out_type
  end
  if t.owned == 1 and t.atomic == 1 then
    return false, "a block that has its row groups to itself adds nothing atomically"
  end
  if t.owned == 1 and t.slabs > 1 then
    return false, "slabs of K divide a row group among blocks that should have it whole"
  end
  if t.warps * t.blocks > 48 then
    return false, "more than 48 warps a multiprocessor leave too few registers"
  end
  return pdl_allows(problem, t)
end

function gemm_cuda_allows(problem, t)
  if problem.batch > 16 then
    return false, "CUDA cores take at most 16 batch rows; use the tensor path"
  end
  return gemm_allows(problem, t)
end
function gemm_tensor_allows(problem, t)
  if t.warps * t.blocks > 32 and problem.batch > 8 then
    return false, "more than 8 batch rows need more registers than 32 warps have"
  end
  return gemm_allows(problem, t)
end

-- The same of templates/experts_cuda.cu.in, experts_tensor.cu.in and what both include.
local not_of_experts = { "atomic", "owned", "staged" }
function experts_cuda_tunables()
  local warps = tunable("warps", { 0, 8, 16, 32 },
    "warps a block; 0: 16, or 8 where tiles of more than 4 rows need the registers")
  return gemm_tunables(warps, tunable("runs", { 0, 1, 2 }), not_of_experts)
end
function experts_tensor_tunables()
  local warps = tunable("warps", { 0, 8, 16, 32 },
    "warps a block; 0: 16, or 8 in tiles of more than 8 and where shared memory is small")
  return gemm_tunables(warps, tunable("runs", { 0, 1, 2, 4 }), not_of_experts)
end
function experts_allow(problem, t)
  if t.warps * t.blocks > 32 then
    return false, "more than 32 warps a multiprocessor leave too few registers"
  end
  return pdl_allows(problem, t)
end

function pdl_allows(problem, t)
  if t.pdl == 1 and problem.pdl == 0 then
    return false, "programmatic dependent launch needs sm_90 or later"
  end
  return true
end

-- A family that finds codes in one of the forms that C has: encode_FORM.lua and its template; with
-- errors fed forward encode_fed_FORM.lua.
function encoder(form, help, tunables)
  return {
    name = "encode_" .. form, op = "encode", form = form, path = form,
    template = "templates/encode_" .. form .. ".cu.in", help = help, tunables = tunables,
  }
end
function fed_encoder(form, help, tunables)
  return {
    name = "encode_fed_" .. form, op = "encode-fed", form = form, path = "fed-" .. form,
    template = "templates/encode_fed_" .. form .. ".cu.in", help = help, tunables = tunables,
  }
end
