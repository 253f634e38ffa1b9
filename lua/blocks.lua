-- What the entries of lua/architectures build blocks with, on top of lua/architectures.lua.
--
-- m.config is the decoder's part of a config.json (empty for lua/models), m.root the whole of it.
-- null is false there.

local linear = blocks.linear

-- A number of a config, or 'otherwise' where there is none.
function blocks.number(value, otherwise)
  if type(value) == "number" then return math.tointeger(value) or value end
  return otherwise
end
local number = blocks.number

-- The first of several fields that holds a number, or a list of one for each layer: spellings of
-- one thing.
function blocks.first(c, names, otherwise)
  for _, name in ipairs(names) do
    local n = number(type(c[name]) == "table" and c[name][1] or c[name])
    if n then return n end
  end
  return otherwise
end

-- A matrix that holds the rows of several linears: 'turns' times rows of each part, in the order of
-- the list 'parts' of { role, rows of a turn, heads (those that all of its rows are) }.  A gate's
-- linear comes behind that of up, as launches have them.
function blocks.joined(l, parts, turns)
  local begin, list = 0, {}
  for _, part in ipairs(parts) do
    local p = { role = part[1], rows = part[2], heads = part[3], begin = begin }
    local before = #list > 0 and list[#list].role:match("gate$") and p.role:match("up$")
    table.insert(list, before and #list or #list + 1, p)
    begin = begin + part[2]
  end
  l.parts, l.turns = list, turns or 1
  return l
end

-- q, k and v in one matrix.  o: heads, kv_heads, head_dim (those of m); turns: how often they
-- alternate, as in kv_heads for each head of keys with the heads of q that read it; order
-- ({ "q", "k", "v" }); path of roles ("delta_")
function blocks.qkv(l, m, o)
  o = o or {}
  local heads, kv, d = o.heads or m.heads, o.kv_heads or m.kv_heads, o.head_dim or m.head_dim
  local turns, parts = o.turns or 1, {}
  for i, role in ipairs(o.order or { "q", "k", "v" }) do
    local n = role == "q" and heads or kv
    if n * d % turns ~= 0 then return l end -- no config of its family
    parts[i] = { role, n * d // turns, n }
  end
  return blocks.joined(l, parts, turns)
end

-- gate and up in one matrix: one behind another, or row by row in turn.
--   o: up_first, alternate
function blocks.gate_up(l, o)
  o = o or {}
  local path = l.role:match("^(.*)gate_up$")
  local rows = o.alternate and 1 or l.rows // 2
  local gate, up = { path .. "gate", rows }, { path .. "up", rows }
  return blocks.joined(l, o.up_first and { up, gate } or { gate, up }, o.alternate and l.rows // 2)
end

-- Routed experts, a stack of each projection.
--   o: path ("mlp"), rows (of gate and up), experts, active; gate, up, down: names of tensors,
--   gate = false: there is none; columns (m.hidden); bias
--   stack: how checkpoints also hold them: { gate_up =, down = } or { gate =, up =, down = }, names
--   of whole tensors; transposed (all), down_transposed; interleaved (gate and up, row by row)
--   names: what an expert's tensor is called, where that is not path.experts.*.name
function blocks.experts(m, linears, o)
  local path, h = o.path .. ".experts.*.", o.columns or m.hidden
  local whole = o.stack or {}
  local gate, up, down = o.gate, o.up or "up_proj", o.down or "down_proj"
  if gate == nil then gate = "gate_proj" end
  local function add(role, group, name, rows, columns, stack)
    local l = linear(role, group, o.names and o.names(name) or path .. name, rows, columns, o.bias)
    l.experts, l.active, l.stack = o.experts, o.active, stack
    table.insert(linears, l)
  end
  local function part(name, i, parts, transposed)
    if not name then return nil end
    return { tensor = name, part = i, parts = parts, transposed = transposed,
             interleaved = o.interleaved and parts > 1 }
  end
  local gates = gate and 2 or 1
  add("expert_up", "experts-up-gate", up, o.rows, h,
      part(whole.up, 0, 1, o.transposed)
      or part(whole.gate_up, gates - 1, gates, o.transposed))
  if gate then
    add("expert_gate", "experts-up-gate", gate, o.rows, h,
        part(whole.gate, 0, 1, o.transposed) or part(whole.gate_up, 0, 2, o.transposed))
  end
  add("expert_down", "experts-down", down, h, o.rows,
      part(whole.down, 0, 1, o.transposed or o.down_transposed))
  return linears
end

-- One MLP under any path: shared experts, and dense ones beside them.
--   names: { gate =, up =, down = } (gate = false: none), prefix of roles
function blocks.mlp_of(m, linears, path, rows, o)
  o = o or {}
  local h, names, role = o.columns or m.hidden, o.names or {}, o.role or ""
  local gate = names.gate
  if gate == nil then gate = "gate_proj" end
  local group = o.group or (role ~= "" and role:gsub("_$", "") .. " up-gate" or "up-gate")
  table.insert(linears, linear(role .. "up", group, path .. (names.up or "up_proj"), rows, h,
                               o.bias))
  if gate then
    table.insert(linears, linear(role .. "gate", group, path .. gate, rows, h, o.bias))
  end
  table.insert(linears, linear(role .. "down", role ~= "" and role:gsub("_$", "") .. " down"
                               or "down", path .. (names.down or "down_proj"), h, rows, o.bias))
  return linears
end

-- Multi-head latent attention: q and kv through narrow vectors.  Numbers: heads, and of the config
-- q_lora_rank (false: q is one matrix), kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim,
-- v_head_dim (= qk_nope_head_dim).  indexer: that of sparse attention, { heads =, dim = }.
function blocks.mla(m, indexer)
  local c, h = m.config, m.hidden
  local nope, rope = number(c.qk_nope_head_dim, 128), number(c.qk_rope_head_dim, 64)
  local v, kv, q = number(c.v_head_dim, nope), number(c.kv_lora_rank, 512), number(c.q_lora_rank)
  local list = {}
  local function add(...) table.insert(list, linear(...)) end
  if q then
    add("q_a", "qkv_a", "self_attn.q_a_proj", q, h, m.attention_bias == 1)
  else
    add("q", "qkv_a", "self_attn.q_proj", m.heads * (nope + rope), h)
  end
  add("kv_a", "qkv_a", "self_attn.kv_a_proj_with_mqa", kv + rope, h, m.attention_bias == 1)
  if indexer then add("index_k", "qkv_a", "self_attn.indexer.wk", indexer.dim, h) end
  if q then add("q_b", "q_b", "self_attn.q_b_proj", m.heads * (nope + rope), q) end
  if indexer then
    add("index_q", "q_b", "self_attn.indexer.wq_b", indexer.heads * indexer.dim, q or h)
  end
  add("kv_b", "kv_b", "self_attn.kv_b_proj", m.heads * (nope + v), kv)
  add("o", "o", "self_attn.o_proj", h, m.heads * v, m.attention_bias == 1)
  return list
end

-- For an entry's beside: the norms inside that.
function blocks.beside_mla(path)
  return { of = "q_a", path .. ".q_a_layernorm" }, { of = "kv_a", path .. ".kv_a_layernorm" },
    { of = "index_k", path .. ".indexer.k_norm" }
end

-- Norms inside that, and what of an indexer is no linear to quantize: a weight a head.
function blocks.mla_extra(m, indexer)
  local c = m.config
  local n = number(c.q_lora_rank, 0) + number(c.kv_lora_rank, 512)
  if indexer then n = n + 2 * indexer.dim + indexer.heads * m.hidden end
  return n
end

-- Mamba-2: in_proj makes z, x, B, C and dt of x; out_proj reads the state's output.
--   s: heads, head_dim, groups, state, conv (width of the convolution); path; bias
function blocks.mamba2(m, s, path, bias)
  local inner = s.heads * s.head_dim
  return {
    linear("ssm_in", "ssm_in", path .. "in_proj", 2 * inner + 2 * s.groups * s.state + s.heads,
           m.hidden, bias),
    linear("ssm_out", "ssm_out", path .. "out_proj", m.hidden, inner, bias),
  }
end
function blocks.mamba2_extra(s)
  local inner = s.heads * s.head_dim
  local convolved = inner + 2 * s.groups * s.state
  return convolved * (s.conv + 1) + 3 * s.heads + inner
end

-- Gated delta net (Qwen3-Next, Qwen3.5).  The narrow projections to a gate and a step a head (b, a)
-- stay as they are: a few rows that steer the whole state.
local function delta_sizes(c)
  local k = number(c.linear_num_key_heads, 16) * number(c.linear_key_head_dim, 128)
  local heads = number(c.linear_num_value_heads, 32)
  return k, heads * number(c.linear_value_head_dim, 128), heads
end
function blocks.delta_net(m, fused)
  local k, v, heads = delta_sizes(m.config)
  local joined = blocks.joined
  local list = {}
  local keys = number(m.config.linear_num_key_heads, 16)
  if fused then -- each head of keys with the heads of values that read it
    list[1] = joined(linear("delta_in", "delta_in", "linear_attn.in_proj_qkvz", 2 * k + 2 * v,
                            m.hidden),
                     { { "delta_q", k // keys, keys }, { "delta_k", k // keys, keys },
                       { "delta_v", v // keys, heads }, { "delta_z", v // keys, heads } }, keys)
  else
    list[1] = joined(linear("delta_qkv", "delta_in", "linear_attn.in_proj_qkv", 2 * k + v,
                            m.hidden),
                     { { "delta_q", k, keys }, { "delta_k", k, keys }, { "delta_v", v, heads } })
    list[2] = linear("delta_z", "delta_in", "linear_attn.in_proj_z", v, m.hidden)
  end
  table.insert(list, linear("delta_out", "delta_out", "linear_attn.out_proj", m.hidden, v))
  return list
end
function blocks.delta_net_extra(m)
  local k, v, heads = delta_sizes(m.config)
  local conv = number(m.config.linear_conv_kernel_dim, 4)
  return (2 * k + v) * conv + 2 * heads + number(m.config.linear_value_head_dim, 128)
    + 2 * heads * m.hidden
end

-- Names of kinds of all layers: what 'of' says of each, numbered from 0 as in a config.json.
function blocks.layers(m, of)
  local list = {}
  for i = 0, m.layers - 1 do list[i + 1] = of(i) end
  return list
end

-- Is 'value' in a list of a config?
function blocks.contains(list, value)
  for _, v in ipairs(type(list) == "table" and list or {}) do
    if v == value then return true end
  end
  return false
end

-- Several lists of linears as one.
function blocks.join(...)
  local all = {}
  for _, list in ipairs { ... } do
    for _, l in ipairs(list) do table.insert(all, l) end
  end
  return all
end

-- For an entry's beside: blocks with experts have a router.
function blocks.beside_experts(name) return { of = "expert_up", name } end

-- Blocks with experts, but for the first ones or those that 'dense' names, which have an MLP.
--   attention  linears that all blocks begin with;  mlp, moe: functions that give the rest
function blocks.sparse(m, dense, attention, mlp, moe)
  return {
    layers = blocks.layers(m, function(i) return dense(i) and "dense" or "sparse" end),
    kind = { dense = blocks.join(attention, mlp()), sparse = blocks.join(attention, moe()) },
  }
end

-- ---- What is no part of the decoder ----

-- Weights of a vision transformer and its projector, from a vision_config in any of the usual
-- spellings.  o: gated (a third matrix in the MLP), text (width of the decoder), projector:
-- "mlp" (two matrices to the decoder's width), "linear", "merger" (of merge x merge patches, once
-- and for every layer that the config lists), "merged" (of such patches, two matrices).
function blocks.vision(v, o)
  if type(v) ~= "table" then return 0 end
  o = o or {}
  local first = blocks.first
  local h = first(v, { "hidden_size", "vt_hidden_size", "embed_dim", "width", "d_model" }, 1152)
  if o.width then h = first(v, { o.width }, h) end
  local layers = first(v, { "num_hidden_layers", "depth", "vt_num_hidden_layers", "layers",
                            "num_layers", "encoder_layers" }, 24)
  local inner = first(v, { "intermediate_size", "vt_intermediate_size", "encoder_ffn_dim" })
  inner = inner or math.floor(h * first(v, { "mlp_ratio" }, 4))
  local patch = first(v, { "patch_size", "spatial_patch_size" }, 14)
  local in_patch = first(v, { "num_channels", "in_channels", "in_chans" }, 3) * patch * patch
    * first(v, { "temporal_patch_size" }, 1)
  local block = 4 * h * h + 4 * h + (o.gated and 3 or 2) * h * inner + inner + h + 4 * h
  local image = first(v, { "image_size" }, 0)
  local places = first(v, { "num_position_embeddings" }, (image // patch) ^ 2)
  if number(v.position_embedding_size) then places = 2 * v.position_embedding_size end
  local n = layers * block + h * in_patch + math.tointeger(places // 1) * h
  local out = o.text or first(v, { "out_hidden_size", "text_hidden_size" }, 4096)
  local merge = first(v, { "spatial_merge_size" }, 2)
  local merged = h * merge * merge
  local projector = o.projector or "mlp"
  if projector == "mlp" then n = n + h * out + out * out end
  if projector == "linear" then n = n + h * out end
  if projector == "merged" then n = n + merged * out + out * out end
  if projector == "merger" then
    local mergers = 1
    if type(v.deepstack_visual_indexes) == "table" then
      mergers = 1 + #v.deepstack_visual_indexes
    end
    n = n + mergers * (merged * merged + merged * out)
  end
  return n // 1 | 0
end

-- For an entry's "passed".
function blocks.passed_vision(o)
  return function(m)
    local v = m.root.vision_config
    if type(v) ~= "table" and type(m.root.thinker_config) == "table" then
      v = m.root.thinker_config.vision_config
    end
    if type(v) ~= "table" then return nil end
    local options = { text = m.hidden }
    for k, value in pairs(o or {}) do options[k] = value end
    return { weights = blocks.vision(v, options), what = "vision tower and projector" }
  end
end
