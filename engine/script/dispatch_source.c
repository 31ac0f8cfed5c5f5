/* dispatch.lua, as a part of the program. */
extern const char dispatch_lua[], dispatch_lua_end[];

__asm__(".pushsection .rodata\n"
        ".globl dispatch_lua\n"
        "dispatch_lua:\n"
        ".incbin \"" DISPATCH_LUA "\"\n"
        ".globl dispatch_lua_end\n"
        "dispatch_lua_end:\n"
        ".byte 0\n"
        ".popsection\n");
