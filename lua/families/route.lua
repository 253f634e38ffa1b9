-- route: a router's ids to assignments sorted by expert, in tiles: templates/route.cu.in.
-- The first value of a tunable is its default.

return {
  name = "route",
  op = "route",
  template = "templates/route.cu.in",
  help = "assignments of tokens sorted by expert and cut into tiles, which experts read",
  tunables = { tunable("warps", { 16, 8, 32 }), tunable("pdl", { 0, 1 }) },
  constraint = pdl_allows,
}
