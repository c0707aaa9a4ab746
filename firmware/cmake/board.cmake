# wm_board_value(KEY OUT): a top-level text value of the board's board.toml, so that CMake and the tools share one file.
function(wm_board_value key out)
    set(file ${WM_BOARD_DIR}/board.toml)
    if(NOT EXISTS ${file})
        message(FATAL_ERROR "no board '${WM_BOARD}': ${file} does not exist. Set -DWM_BOARD to a folder in boards/, "
                            "or -DWM_BOARD_DIR to one elsewhere.")
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(STRINGS ${file} lines REGEX "^${key} *= *\"[^\"]*\"")
    list(LENGTH lines count)
    if(NOT count EQUAL 1)
        message(FATAL_ERROR "${file}: expected one line '${key} = \"...\"', found ${count}")
    endif()
    string(REGEX REPLACE "^[^\"]*\"([^\"]*)\".*" "\\1" value "${lines}")
    set(${out} "${value}" PARENT_SCOPE)
endfunction()

# wm_board_files(GENERATOR DEPENDS...): run `GENERATOR board.toml FOLDER`, a Python script, and set WM_BOARD_FILES to the folder
# where it put what it made. Again whenever the board's file, the script or DEPENDS change.
macro(wm_board_files generator)
    find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)
    set(WM_BOARD_FILES ${CMAKE_CURRENT_BINARY_DIR}/board)
    execute_process(COMMAND ${Python3_EXECUTABLE} ${generator} ${WM_BOARD_DIR}/board.toml ${WM_BOARD_FILES}
        RESULT_VARIABLE status ERROR_VARIABLE said)
    if(NOT status EQUAL 0)
        message(FATAL_ERROR "${said}")
    endif()
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${generator} ${ARGN})
endmacro()
