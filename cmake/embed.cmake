# rill_embed(INPUT OUTPUT NAME): writes OUTPUT, a C file with the bytes of INPUT as the array NAME, and NAME_length. Done
# when the build is configured, which it is again whenever INPUT has changed; so any target may have OUTPUT as a source.
function(rill_embed input output name)
    set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${input})
    file(READ ${input} bytes HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
    string(REPEAT "0x..," 16 line)
    string(REGEX REPLACE "(${line})" "    \\1\n" bytes "${bytes}")
    get_filename_component(file ${input} NAME)
    file(CONFIGURE OUTPUT ${output} CONTENT "/* Made of ${file}. */
#include <stddef.h>

extern const unsigned char ${name}[];
extern const size_t ${name}_length;

const unsigned char ${name}[] = {
${bytes}
};
const size_t ${name}_length = sizeof ${name};
" @ONLY)
endfunction()
