# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for iothsmctl(1). Names of tokens and slots are asked of the service, which answers at once or not at
# all.

_iothsmctl_values()
{
    case $1 in
    --json) echo pretty short off ;;
    --type) echo rsa2048 rsa3072 rsa4096 p256 p384 p521 ed25519 ;;
    --pin-policy) echo never once always ;;
    --touch-policy) echo never always cached ;;
    --hash) echo sha256 sha384 sha512 ;;
    --for) echo platform yubico ;;
    --algorithm) echo 3des aes128 aes192 aes256 ;;
    --token) iothsmctl complete tokens 2>/dev/null | cut -f1 ;;
    --slot) iothsmctl complete free 2>/dev/null | cut -f1 | sed -n 's|.*/||p'
            iothsmctl complete slots 2>/dev/null | cut -f1 | sed 's|.*/||' ;;
    *) return 1 ;;
    esac
}

_iothsmctl_options()
{
    local key="--label= --pin-policy= --touch-policy=" sign="--hash= --days= --replace"
    local passphrase="--passphrase-file= --passphrase-fd=" pin="--pin-file= --pin-fd=" new="--new-pin-file= --new-pin-fd="
    case $1 in
    provision) echo --token= --slot= --type= --import-key= $passphrase --template= --self-signed --csr= --certificate= \
                    --output= --yes $sign $key ;;
    generate) echo --type= $key ;;
    import-key) echo $passphrase $key ;;
    self-sign|csr) echo $sign --output= ;;
    cert|attest|metrics) echo --output= ;;
    clear|"softhsm delete"|"kms remove") echo --yes ;;
    drain) echo --undo ;;
    "pin set") echo $pin --persist --memory-only --factory ;;
    "pin change") echo $pin $new ;;
    "pin unblock") echo --puk-file= --puk-fd= $new ;;
    "management-key set") echo --key-file= --key-fd= --persist --memory-only ;;
    "management-key change") echo --key-file= --key-fd= --new-key-file= --new-key-fd= --algorithm= --persist --memory-only ;;
    "management-key protect") echo --key-file= --key-fd= --algorithm= ;;
    "kms browse") echo --credentials= ;;
    "kms add") echo --credentials= --yes ;;
    "softhsm create") echo $pin --so-pin-file= --so-pin-fd= ;;
    "trust add") echo --for= ;;
    esac
    echo --help --json= --no-pager --no-legend --no-ask-password --quiet
    [[ -n $1 ]] || echo --version
}

# The arguments of verb $1, the $2-th of them.
_iothsmctl_arguments()
{
    case "$1 $2" in
    "show 1") iothsmctl complete places 2>/dev/null | cut -f1 ;;
    "generate 1"|"import-key 1") iothsmctl complete free 2>/dev/null | cut -f1 ;;
    "self-sign 1"|"csr 1"|"import-cert 1"|"cert 1"|"attest 1"|"clear 1") iothsmctl complete slots 2>/dev/null | cut -f1 ;;
    "pin set 1"|"pin change 1"|"pin unblock 1"|"pin forget 1"|"softhsm delete 1"|"kms remove 1"|"management-key set 1"|"management-key change 1"|\
    "management-key protect 1"|"management-key forget 1"|"drain 1")
        iothsmctl complete tokens 2>/dev/null | cut -f1 ;;
    "template 1"|"import-key 2"|"self-sign 2"|"csr 2"|"import-cert 2"|"trust add 1") echo @files ;;
    esac
}

# Those of the words $1 that begin with $2, without what readline has already taken for words of their own.
_iothsmctl_offer()
{
    local before=${2%"${2##*:}"}
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
    [[ $COMP_WORDBREAKS == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"$before"}")
}

_iothsmctl()
{
    local verbs="status list show link monitor metrics provision template generate import-key self-sign csr import-cert cert
                 attest clear drain pin management-key softhsm kms trust reload"
    local words=() cur last option="" verb="" arguments=0 i word choices
    COMPREPLY=()

    # bash splits words at colons, which names in Google Cloud have.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        if ((i > 0)) && [[ ${COMP_WORDS[i]} == :* || ${words[-1]} == *: ]]; then
            words[-1]+=${COMP_WORDS[i]}
        else
            words+=("${COMP_WORDS[i]}")
        fi
    done
    last=$((${#words[@]} - 1)) cur=${words[-1]}

    if [[ $cur == "=" ]]; then
        option=${words[last-1]} cur=""
    elif ((last > 1)) && [[ ${words[last-1]} == "=" ]]; then
        option=${words[last-2]}
    fi
    if [[ -n $option ]]; then
        if choices=$(_iothsmctl_values "$option"); then
            _iothsmctl_offer "$choices" "$cur"
        else
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        fi
        return
    fi

    for ((i = 1; i < last; i++)); do
        word=${words[i]}
        if [[ $word == "=" ]]; then
            ((i++))
        elif [[ $word != -* && -z $verb ]]; then
            verb=$word
        elif [[ $word != -* && $verb =~ ^(pin|management-key|softhsm|kms|trust)$ ]]; then
            verb="$verb $word"
        elif [[ $word != -* ]]; then
            ((arguments++))
        fi
    done

    if [[ $cur == -* ]]; then
        choices=$(_iothsmctl_options "$verb")
        mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur")
        [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
        return
    fi
    case $verb in
    "") choices=$verbs ;;
    pin) choices="set change unblock forget" ;;
    management-key) choices="set change protect forget" ;;
    softhsm) choices="create delete" ;;
    kms) choices="browse add remove" ;;
    trust) choices="add show" ;;
    *) choices=$(_iothsmctl_arguments "$verb" $((arguments + 1))) ;;
    esac
    if [[ $choices == @files ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    else
        _iothsmctl_offer "$choices" "$cur"
    fi
}

complete -F _iothsmctl iothsmctl
