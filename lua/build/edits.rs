//! The edits: what is changed in the sources of Lua 5.1.5, and why.

use crate::apply::{Edit, Place::*};

/// Numbers of objects: `lua_serial` shows them where addresses would differ from run to run.
const NUMBERED: &str = "objects are numbered";
/// Globals, libraries and the metatable of strings are shared by all scripts.
const READONLY: &str = "a table can be read-only";
const PATTERNS: &str = "the depth of a pattern match is bounded";

/// All edits; the order does not matter.
#[rustfmt::skip]
pub const EDITS: &[Edit] = &[
    // A table can be read-only.
    Edit { file: "lobject.h", name: READONLY, anchor: "lu_byte lsizenode;", place: Before,
        text: "lu_byte readonly;  /* no script may change it */\n  " },
    Edit { file: "ltable.c", name: READONLY, anchor: "luaC_link(L, obj2gco(t), LUA_TTABLE);", place: After,
        text: "\n  t->readonly = 0;\n  t->serial = ++G(L)->serial;" },
    Edit { file: "lvm.c", name: "the macros of lhost.h", anchor: "#include \"lvm.h\"", place: After,
        text: "\n#include \"lhost.h\"" },
    Edit { file: "lvm.c", name: READONLY, anchor: "luaH_set(L, h, key)", place: Instead,
        text: "luaH_set(L, luaH_writable(L, h), key)" },
    Edit { file: "lapi.c", name: "the macros of lhost.h", anchor: "#include \"ltable.h\"", place: After,
        text: "\n#include \"lhost.h\"" },
    Edit { file: "lapi.c", name: READONLY, anchor: "luaH_set(L, hvalue(t)", place: Instead,
        text: "luaH_set(L, luaH_writable(L, hvalue(t))" },
    Edit { file: "lapi.c", name: READONLY, anchor: "luaH_setnum(L, hvalue(o)", place: Instead,
        text: "luaH_setnum(L, luaH_writable(L, hvalue(o))" },
    Edit { file: "lapi.c", name: READONLY, anchor: "hvalue(obj)->metatable = mt", place: Instead,
        text: "luaH_writable(L, hvalue(obj))->metatable = mt" },

    // Objects are numbered. The numbers lie where alignment left room, and are given where objects are made.
    Edit { file: "lstate.h", name: NUMBERED, anchor: "tmname[TM_N];", place: After,
        text: "\n  unsigned int serial;  /* objects numbered so far */\n  lu_byte mayfail;  /* a script runs, and not the host */" },
    Edit { file: "lstate.h", name: NUMBERED, anchor: "lu_byte status;", place: After,
        text: "\n  unsigned int serial;" },
    Edit { file: "lobject.h", name: NUMBERED, anchor: "struct Table *metatable; struct Table *env;", place: Before,
        text: "unsigned int serial;\n    " },
    Edit { file: "lobject.h", name: NUMBERED, anchor: "lu_byte nupvalues;", place: After,
        text: " unsigned int serial;" },
    Edit { file: "lobject.h", name: NUMBERED, anchor: "int sizearray;", place: Before,
        text: "unsigned int serial;\n  " },
    Edit { file: "lstate.c", name: NUMBERED, anchor: "g->currentwhite =", place: Before,
        text: "g->serial = L->serial = 1;\n  " },
    Edit { file: "lstate.c", name: NUMBERED, anchor: "preinit_state(L1, G(L));", place: After,
        text: "\n  L1->serial = ++G(L)->serial;" },
    Edit { file: "lfunc.c", name: NUMBERED, anchor: "c->c.isC = 1;", place: After,
        text: "\n  c->c.serial = ++G(L)->serial;" },
    Edit { file: "lfunc.c", name: NUMBERED, anchor: "c->l.isC = 0;", place: After,
        text: "\n  c->l.serial = ++G(L)->serial;" },
    Edit { file: "lstring.c", name: NUMBERED, anchor: "u->uv.len = s;", place: After,
        text: "\n  u->uv.serial = ++G(L)->serial;" },
    // Tables hash by number: `next` has the same order in every run, and the collector the same work, so that a
    // state's size is the same. What has no number is one of the few keys of the host: they share a place.
    Edit { file: "ltable.c", name: "objects hash by their number", anchor: "return hashpointer(t, pvalue(key));",
        place: Instead,
        text: "return gnode(t, 0);
    case LUA_TTABLE:
      return hashmod(t, hvalue(key)->serial);
    case LUA_TFUNCTION:
      return hashmod(t, clvalue(key)->c.serial);
    case LUA_TUSERDATA:
      return hashmod(t, uvalue(key)->serial);
    case LUA_TTHREAD:
      return hashmod(t, thvalue(key)->serial);" },
    Edit { file: "lbaselib.c", name: "`tostring` shows the number", anchor: "lua_topointer(L, 1)", place: Instead,
        text: "(void *)(size_t)lua_serial(L, 1)" },

    // The functions of the host come with the base library.
    Edit { file: "lbaselib.c", name: "the functions of lhost.c", anchor: "#include \"lualib.h\"", place: After,
        text: "\n#include \"lhost.h\"" },
    Edit { file: "lbaselib.c", name: "the functions of lhost.c", anchor: "luaL_register(L, LUA_COLIBNAME, co_funcs);",
        place: After, text: "\n  luaopen_host(L);" },

    // Keys that differ in a few bytes only must not all collide.
    Edit { file: "lstring.c", name: "strings of up to 127 bytes hash by all of them", anchor: "(l>>5)+1", place: Instead,
        text: "(l < 128) ? 1 : (l>>5)+1" },

    // Bytecode can be made to corrupt memory.
    Edit { file: "ldo.c", name: "bytecode is not loaded", anchor: "c == LUA_SIGNATURE[0]", place: Instead,
        text: "(void)c, 0" },

    // The collector could free the chunk's name while it is parsed.
    Edit { file: "lparser.c", name: "the chunk's name is on the stack", anchor: "Proto *luaY_parser (", place: Before,
        text: "static TString *held (lua_State *L, TString *name) {
  setsvalue2s(L, L->top, name);
  incr_top(L);
  return name;
}


" },
    Edit { file: "lparser.c", name: "the chunk's name is on the stack", anchor: "luaS_new(L, name)", place: Instead,
        text: "held(L, luaS_new(L, name))" },
    Edit { file: "lparser.c", name: "the chunk's name is on the stack", anchor: "return funcstate.f;", place: Before,
        text: "L->top--;  /* the name */\n  " },

    // It read far outside of its table.
    Edit { file: "lbaselib.c", name: "`unpack` counts without overflow", anchor: "n = e - i + 1;", place: Instead,
        text: "n = ((double)e - i >= INT_MAX) ? 0 : e - i + 1;" },
    Edit { file: "lbaselib.c", name: "`unpack` counts without overflow", anchor: "while (i++ < e)", place: Instead,
        text: "while (i < e && (i++, 1))" },
    Edit { file: "lbaselib.c", name: "`unpack` counts without overflow", anchor: "#include <ctype.h>", place: After,
        text: "\n#include <limits.h>" },

    // An overflow read outside of the buffer. The text behind "too many lines" would be as long as the chunk.
    Edit { file: "llex.c", name: "the length of a long bracket is bounded", anchor: "#include \"llex.h\"", place: After,
        text: "\n#include \"lhost.h\"" },
    Edit { file: "llex.c", name: "the length of a long bracket is bounded", anchor: "count++;", place: After,
        text: "\n    if (count > LUA_BRACKETMAX)
      luaX_lexerror(ls, \"invalid long string delimiter\", 0);" },
    Edit { file: "llex.c", name: "no text behind \"too many lines\"", anchor: "luaX_syntaxerror(ls, \"chunk has too many lines\"",
        place: Instead, text: "luaX_lexerror(ls, \"chunk has too many lines\", 0" },

    // A long pattern used up the C stack.
    Edit { file: "lstrlib.c", name: PATTERNS, anchor: "#include \"lualib.h\"", place: After,
        text: "\n#include \"lhost.h\"" },
    Edit { file: "lstrlib.c", name: PATTERNS, anchor: "int level;", place: Before,
        text: "int depth;  /* how deep `match' may still call itself */\n  " },
    Edit { file: "lstrlib.c", name: PATTERNS, anchor: "ms.src_end = s+l1;", place: After,
        text: "\n    ms.depth = LUA_MATCHDEPTH;" },
    Edit { file: "lstrlib.c", name: PATTERNS, anchor: "ms.src_end = s+ls;", place: After,
        text: "\n  ms.depth = LUA_MATCHDEPTH;" },
    Edit { file: "lstrlib.c", name: PATTERNS, anchor: "ms.src_end = src+srcl;", place: After,
        text: "\n  ms.depth = LUA_MATCHDEPTH;" },
    Edit { file: "lstrlib.c", name: PATTERNS,
        anchor: "*match (MatchState *ms, const char *s, const char *p) {", place: Instead,
        text: "*match_here (MatchState *ms, const char *s,
                               const char *p);


static const char *match (MatchState *ms, const char *s, const char *p) {
  if (ms->depth-- == 0)
    luaL_error(ms->L, \"pattern too complex\");
  s = match_here(ms, s, p);
  ms->depth++;
  return s;
}


static const char *match_here (MatchState *ms, const char *s,
                               const char *p) {" },

    // The allocator ends the process rather than fail; a script's large blocks must not.
    Edit { file: "lmem.c", name: "a script's large blocks may fail", anchor: "#include \"lmem.h\"", place: After,
        text: "\n#include \"lhost.h\"" },
    Edit { file: "lmem.c", name: "a script's large blocks may fail", anchor: "block = (*g->frealloc)(", place: Before,
        text: "if (nsize >= LUA_LARGEBLOCK && nsize > osize && g->mayfail &&
      !retrace_lua_has_room(nsize))
    luaD_throw(L, LUA_ERRMEM);
  " },
    Edit { file: "lstate.c", name: "a script's large blocks may fail", anchor: "g->gcpause =", place: Before,
        text: "g->mayfail = 0;\n  " },

    // A finalizer's error would leave what has allocated by a jump.
    Edit { file: "lgc.c", name: "finalizers are called protected", anchor: "static void GCTM (", place: Before,
        text: "static void finalizer (lua_State *L, void *ud) {
  (void)ud;
  luaD_call(L, L->top - 2, 0);
}


/* calls the finalizer on the stack; an error ends it and nothing else */
static void finalize (lua_State *L) {
  if (luaD_pcall(L, finalizer, NULL, savestack(L, L->top - 2), 0) != 0)
    L->top--;  /* the error */
}


" },
    Edit { file: "lgc.c", name: "finalizers are called protected", anchor: "luaD_call(L, L->top - 2, 0)", place: Instead,
        text: "finalize(L)" },
];
