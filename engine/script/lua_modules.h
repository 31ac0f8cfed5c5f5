/* The parts of the global `mix`, one C file each. Each function gets a VM's state with the table
 * `mix` on top of the stack, adds its functions to it and leaves the table there. The leaves need
 * nothing but the state; the others find their vm in the registry (vm_of). */
#pragma once

#include <lua.h>

struct command;
struct push_answer;
struct script_env;

void lua_json_open(lua_State *L);   /* json_encode json_decode */
void lua_text_open(lua_State *L);   /* str_split bytes_tostring base64_* md5* sha1* */
void lua_php_open(lua_State *L);    /* php_pack php_unpack */
void lua_url_open(lua_State *L);    /* parse_url url_parse parse_str */
void lua_log_open(lua_State *L);    /* log DEBUG INFO WARN ERROR */
void lua_server_open(lua_State *L); /* server.option, worker_id, node_id */
void lua_redis_open(lua_State *L);  /* redis.connection push llen incr decr set get */
void lua_queue_open(lua_State *L);  /* queue.new push len */
void lua_mesh_open(lua_State *L);   /* mesh.send publish count */
void lua_timer_open(lua_State *L);  /* time sleep timer */
void lua_http_open(lua_State *L);   /* http.request */
void lua_conn_open(lua_State *L);   /* websocket socket.tcp; the methods of a connection */

/* Functions for lua/protocols/websocket.lua: those of C, in a new table; and all of them, a
 * luaopen. */
void lua_ws_push(lua_State *L);
int luaopen_mixengine_websocket(lua_State *L);

/* A command that a script sent was carried out; a push that waited was answered. Take ownership. */
void lua_mesh_outcome(struct script_env *env, struct command *command);
void lua_queue_answer(struct script_env *env, struct push_answer *answer);
