/*
** lhost.h: what the edited files of Lua take from lhost.c.
** Not part of the Lua distribution; see ../README.md.
*/

#ifndef lhost_h
#define lhost_h

#include "lua.h"


#define LUA_READONLY	"Attempt to modify a readonly table"

/* the table `h', for a change; raises an error if it is read-only */
#define luaH_writable(L,h) \
	((h)->readonly ? luaG_runerror(L, LUA_READONLY) : (void)0, (h))

/* how deep a pattern match may call itself: a long pattern must not use up
   the C stack */
#define LUA_MATCHDEPTH	20000

/* so many `=' in a long bracket at most: twice its length has to fit an int */
#define LUA_BRACKETMAX	((1 << 30) - 3)

/* blocks from this size on are asked for before they are taken, while a script
   runs: it gets an error if there is no room for one */
#define LUA_LARGEBLOCK	((size_t)256 * 1024)

int retrace_lua_has_room (size_t size);

/* scripts' large blocks may fail from now on, or not; how it was before */
int retrace_lua_may_fail (lua_State *L, int on);

/* the number that stands for the address of the object at `idx' */
LUAI_FUNC unsigned int lua_serial (lua_State *L, int idx);

LUAI_FUNC int luaopen_host (lua_State *L);

#endif
