/*
** lhost.c: what a host needs that cannot be had from outside of Lua.
** Not part of the Lua distribution; see ../README.md.
**
** `luaopen_base' leaves its functions in the global `__host', from which the
** host takes them before any script runs:
**
** readonly(t, on)         nobody can change `t', its metatable included
** raising(f, cell)        calls `f' and returns its results; when the first is
**                         RAISE, raises what `f' has put into `cell' instead
** run(f, keys, argv, as)  runs a script; true and its result, or false and an
**                         error. With `as' the tables are the globals KEYS and
**                         ARGV, otherwise they are the function's arguments
** sethook(f, count)       calls `f' every `count' instructions; a value that
**                         it returns is raised there, and again and again
**                         until the script has ended, whatever it catches
** pcall(f, ...)           as `pcall', but an error table that has a text in
**                         its field `err' is caught as that text
** missing(t, key)         an `__index' that refuses
** collect(steps)          so many steps of the collector at most; whether they
**                         have brought a cycle to its end. A step is small,
**                         however far behind the collector is and whatever a
**                         script has told it
*/

#define lhost_c
#define LUA_LIB

#include "lua.h"

#include "lauxlib.h"

#include "lgc.h"
#include "lhost.h"
#include "lobject.h"
#include "lstate.h"


#define RAISE	((void *)1)

/* what `cell' holds: how to raise it, and the value or the text */
#define CELL_KIND	1
#define CELL_VALUE	2

/* kinds; from ARGUMENT on they name an argument */
#define PLAIN		0
#define WITH_PLACE	1
#define ARGUMENT	2


unsigned int lua_serial (lua_State *L, int idx) {
  const void *object = lua_topointer(L, idx);
  switch (lua_type(L, idx)) {
    case LUA_TTABLE: return ((const Table *)object)->serial;
    case LUA_TFUNCTION: return ((const Closure *)object)->c.serial;
    case LUA_TTHREAD: return ((const lua_State *)object)->serial;
    case LUA_TUSERDATA: return ((const Udata *)object - 1)->uv.serial;
    case LUA_TLIGHTUSERDATA: return (unsigned int)(size_t)object;
    default: return 0;
  }
}


int retrace_lua_may_fail (lua_State *L, int on) {
  global_State *g = G(L);
  int before = g->mayfail;
  g->mayfail = (lu_byte)on;
  return before;
}


static void setreadonly (lua_State *L, int idx, int on) {
  ((Table *)lua_topointer(L, idx))->readonly = (on != 0);
}


static int host_readonly (lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  setreadonly(L, 1, lua_toboolean(L, 2));
  return 0;
}


static int raise (lua_State *L) {
  int kind;
  lua_rawgeti(L, lua_upvalueindex(2), CELL_KIND);
  kind = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  lua_rawgeti(L, lua_upvalueindex(2), CELL_VALUE);
  if (kind == WITH_PLACE) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  else if (kind >= ARGUMENT)
    return luaL_argerror(L, kind - ARGUMENT, lua_tostring(L, -1));
  return lua_error(L);
}


static int raising_call (lua_State *L) {
  int mayfail;
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  mayfail = retrace_lua_may_fail(L, 0);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  retrace_lua_may_fail(L, mayfail);
  if (lua_islightuserdata(L, 1) && lua_touserdata(L, 1) == RAISE)
    return raise(L);
  return lua_gettop(L);
}


static int host_raising (lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_pushcclosure(L, raising_call, 2);
  return 1;
}


/* the text of an error that is not a table */
static void pushtext (lua_State *L, int idx) {
  switch (lua_type(L, idx)) {
    case LUA_TNIL: lua_pushliteral(L, "nil"); break;
    case LUA_TBOOLEAN:
      lua_pushstring(L, lua_toboolean(L, idx) ? "true" : "false");
      break;
    case LUA_TSTRING:
    case LUA_TNUMBER:
      lua_pushvalue(L, idx);
      lua_tostring(L, -1);
      break;
    default:
      if (!luaL_callmeta(L, idx, "__tostring"))
        lua_pushfstring(L, "%s: %p", luaL_typename(L, idx),
                        (void *)(size_t)lua_serial(L, idx));
      break;
  }
}


/* makes a table of every error, and says where it comes from */
static int handler (lua_State *L) {
  lua_Debug ar;
  int known = lua_getstack(L, 1, &ar) && lua_getinfo(L, "Sl", &ar);
  if (known && ar.what[0] == 'C')
    known = lua_getstack(L, 2, &ar) && lua_getinfo(L, "Sl", &ar);
  lua_settop(L, 1);
  if (!lua_istable(L, 1)) {
    lua_pushliteral(L, "ERR ");
    pushtext(L, 1);
    lua_concat(L, 2);
    lua_createtable(L, 0, 3);
    lua_insert(L, -2);
    lua_setfield(L, -2, "err");
    lua_replace(L, 1);
  }
  if (known) {
    lua_pushstring(L, ar.source);
    lua_setfield(L, 1, "source");
    lua_pushinteger(L, ar.currentline);
    lua_setfield(L, 1, "line");
  }
  return 1;
}


static int host_run (lua_State *L) {
  int status, nargs = 0;
  lua_settop(L, 4);
  if (lua_toboolean(L, 4)) {
    setreadonly(L, LUA_GLOBALSINDEX, 0);
    lua_pushvalue(L, 2);
    lua_setfield(L, LUA_GLOBALSINDEX, "KEYS");
    lua_pushvalue(L, 3);
    lua_setfield(L, LUA_GLOBALSINDEX, "ARGV");
    setreadonly(L, LUA_GLOBALSINDEX, 1);
  }
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, 1);
  if (!lua_toboolean(L, 4)) {
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    nargs = 2;
  }
  retrace_lua_may_fail(L, 1);
  status = lua_pcall(L, nargs, 1, 5);
  retrace_lua_may_fail(L, 0);
  lua_pushboolean(L, status == 0);
  lua_insert(L, -2);
  return 2;
}


static const char hookkey = 0;


static void hook (lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_pushlightuserdata(L, (void *)&hookkey);
  lua_rawget(L, LUA_REGISTRYINDEX);
  lua_call(L, 0, 1);
  if (!lua_isnil(L, -1)) {
    lua_sethook(L, hook, LUA_MASKCOUNT | LUA_MASKLINE, 1);
    lua_error(L);
  }
  lua_pop(L, 1);
}


static int host_sethook (lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_pushlightuserdata(L, (void *)&hookkey);
  lua_pushvalue(L, 1);
  lua_rawset(L, LUA_REGISTRYINDEX);
  lua_sethook(L, hook, LUA_MASKCOUNT, luaL_checkint(L, 2));
  return 0;
}


static int host_pcall (lua_State *L) {
  int status;
  luaL_checkany(L, 1);
  status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  if (status != 0 && lua_istable(L, -1)) {
    lua_getfield(L, -1, "err");
    if (lua_isstring(L, -1))
      lua_remove(L, -2);
    else
      lua_pop(L, 1);
  }
  lua_pushboolean(L, status == 0);
  lua_insert(L, 1);
  return lua_gettop(L);
}


static int host_missing (lua_State *L) {
  const char *name = lua_tostring(L, 2);
  return luaL_error(L,
    "Script attempted to access nonexistent global variable '%s'",
    name ? name : luaL_typename(L, 2));
}


static int host_collect (lua_State *L) {
  global_State *g = G(L);
  int steps = luaL_checkint(L, 1);
  int mul = g->gcstepmul;
  int has_ended = 0;
  g->gcstepmul = LUAI_GCMUL;
  while (steps-- > 0 && !has_ended) {
    g->gcdept = 0;
    g->GCthreshold = g->totalbytes;
    luaC_step(L);
    has_ended = (g->gcstate == GCSpause);
  }
  g->gcstepmul = mul;
  lua_pushboolean(L, has_ended);
  return 1;
}


static const luaL_Reg host_funcs[] = {
  {"collect", host_collect},
  {"readonly", host_readonly},
  {"raising", host_raising},
  {"sethook", host_sethook},
  {"pcall", host_pcall},
  {"missing", host_missing},
  {NULL, NULL}
};


int luaopen_host (lua_State *L) {
  lua_newtable(L);
  luaL_register(L, NULL, host_funcs);
  lua_pushcfunction(L, handler);
  lua_pushcclosure(L, host_run, 1);
  lua_setfield(L, -2, "run");
  lua_setglobal(L, "__host");
  return 0;
}
