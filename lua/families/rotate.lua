-- rotate: Y = H (s * X), or its inverse: templates/rotate.cu.in.
-- The first value of a tunable is its default.

return {
  name = "rotate",
  op = "rotate",
  template = "templates/rotate.cu.in",
  help = "the random Hadamard rotation of activations (forward) or of weights' rows (inverse)",
  tunables = {
    { name = "warps", tag = "w", values = { 16, 8, 32 }, help = "warps a block" },
    { name = "pdl", tag = "p", values = { 0, 1 }, help = "1: programmatic dependent launch (sm_90 and later)" },
  },
  constraint = function(problem, t)
    if t.pdl == 1 and problem.arch < 90 then
      return false, "programmatic dependent launch needs sm_90 or later"
    end
    return true
  end,
}
