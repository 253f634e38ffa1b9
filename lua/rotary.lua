-- Rotary position embeddings: what a config.json says of them --> frequencies,
-- for lua/architectures.lua.
--
-- The pair (x[i], x[i + n]) of a head, i < n = dim / 2, is turned at position p by the angle
-- p * frequencies[i]:
--   x[i]' = scale (x[i] cos - x[i + n] sin),   x[i + n]' = scale (x[i + n] cos + x[i] sin)
-- A head's elements at and beyond dim are left alone.  Names and formulas are those of transformers
-- (modeling_rope_utils.py).

rotary = {}

local function plain(p, dim)
  local f = {}
  for i = 0, dim // 2 - 1 do f[i + 1] = p.rope_theta ^ (-2 * i / dim) end
  return f
end

local scaling = {}

function scaling.default(p, dim) return plain(p, dim), 1 end

function scaling.linear(p, dim)
  local f = plain(p, dim)
  for i = 1, #f do f[i] = f[i] / p.factor end
  return f, 1
end

-- The base grows with the sequence beyond what the model was trained on.
function scaling.dynamic(p, dim, length)
  local longest = p.max_position_embeddings
  local times = p.factor * math.max(length, longest) / longest - (p.factor - 1)
  return plain({ rope_theta = p.rope_theta * times ^ (dim / (dim - 2)) }, dim), 1
end

-- Llama 3.1: long waves are stretched, short ones are not, those between partly.
function scaling.llama3(p, dim)
  local f = plain(p, dim)
  local trained = p.original_max_position_embeddings
  for i = 1, #f do
    local turns = trained * f[i] / (2 * math.pi) -- in the context that the model was trained on
    local kept = (turns - p.low_freq_factor) / (p.high_freq_factor - p.low_freq_factor)
    kept = math.min(math.max(kept, 0), 1)
    f[i] = (1 - kept) * f[i] / p.factor + kept * f[i]
  end
  return f, 1
end

-- arXiv 2309.00071: a ramp over the frequencies' numbers, and longer queries and keys.
function scaling.yarn(p, dim)
  local trained = p.original_max_position_embeddings
  local factor = p.factor or p.max_position_embeddings / trained
  local function number_of(turns)
    return dim * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(p.rope_theta))
  end
  local low, high = number_of(p.beta_fast or 32), number_of(p.beta_slow or 1)
  if p.truncate ~= false then low, high = math.floor(low), math.ceil(high) end
  low, high = math.max(low, 0), math.min(high, dim - 1)
  if low == high then high = high + 0.001 end
  local f = plain(p, dim)
  for i = 1, #f do
    local stretched = math.min(math.max((i - 1 - low) / (high - low), 0), 1)
    f[i] = f[i] / factor * stretched + f[i] * (1 - stretched)
  end
  local function length_of(m) return factor <= 1 and 1 or 0.1 * m * math.log(factor) + 1 end
  local scale = p.attention_factor
  if not scale and p.mscale and p.mscale_all_dim and p.mscale ~= 0 and p.mscale_all_dim ~= 0 then
    scale = length_of(p.mscale) / length_of(p.mscale_all_dim)
  end
  return f, scale or length_of(1)
end

-- arXiv 2402.13753: a factor for each frequency, two sets of them.
function scaling.longrope(p, dim, length)
  local trained = p.original_max_position_embeddings
  local factors = length > trained and p.long_factor or p.short_factor
  local f = plain(p, dim)
  if type(factors) ~= "table" or #factors ~= #f then
    local message = "rope_parameters: short_factor and long_factor: lists of %d numbers are needed"
    error(message:format(#f))
  end
  for i = 1, #f do f[i] = f[i] / factors[i] end
  local factor = p.factor or p.max_position_embeddings / trained
  local scale = factor > 1 and math.sqrt(1 + math.log(factor) / math.log(trained)) or 1
  return f, p.attention_factor or scale
end

local needs = {
  linear = { "factor" }, dynamic = { "factor", "max_position_embeddings" },
  llama3 = { "factor", "low_freq_factor", "high_freq_factor" },
}

-- The parameters that config 'c' gives, in the form of transformers 5 (rope_parameters, for each
-- kind of layer where 'kind' is in it) or of 4 (rope_theta, rope_scaling, partial_rotary_factor).
--   theta      the base where the config says none
function rotary.parameters(c, theta, kind)
  local given = c.rope_parameters or {}
  if kind and given[kind] then given = given[kind] end
  local p = {}
  for k, v in pairs(given) do p[k] = v end
  if not c.rope_parameters then
    for k, v in pairs(c.rope_scaling or {}) do p[k] = v end
  end
  p.type = p.rope_type or p.type or "default"
  p.rope_theta = p.rope_theta or c.rope_theta or theta
  p.partial_rotary_factor = p.partial_rotary_factor or c.partial_rotary_factor or 1
  p.max_position_embeddings = c.max_position_embeddings or 2048
  p.original_max_position_embeddings = c.original_max_position_embeddings
    or p.original_max_position_embeddings or p.max_position_embeddings
  return p
end

-- What a sequence of 'length' tokens is turned by: { frequencies = {...}, scale = }.
function rotary.turns(p, head_dim, length)
  local compute = scaling[p.type]
  if not compute then
    local known = {}
    for name in pairs(scaling) do known[#known + 1] = name end
    table.sort(known)
    local names = table.concat(known, ", ")
    error(("rope_parameters: type '%s' is not one of %s"):format(tostring(p.type), names))
  end
  for _, name in ipairs(needs[p.type] or {}) do
    if type(p[name]) ~= "number" then
      error(("rope_parameters: '%s' needs '%s'"):format(p.type, name))
    end
  end
  local f, scale = compute(p, math.floor(head_dim * p.partial_rotary_factor), length)
  return { frequencies = f, scale = scale }
end
