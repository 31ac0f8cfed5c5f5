/* The engine's own Lua, as parts of the program. */
extern const char dispatch_lua[], dispatch_lua_end[], guard_lua[], guard_lua_end[];

#define INCLUDE_LUA(name, file)                                                                    \
    __asm__(".pushsection .rodata\n"                                                               \
            ".globl " name "\n" name ":\n"                                                         \
            ".incbin \"" file "\"\n"                                                               \
            ".globl " name "_end\n" name "_end:\n"                                                 \
            ".byte 0\n"                                                                            \
            ".popsection\n")

INCLUDE_LUA("dispatch_lua", DISPATCH_LUA);
INCLUDE_LUA("guard_lua", GUARD_LUA);
